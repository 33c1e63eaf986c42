"""A platform beside JAX's own that operations have formulations for."""

# Files for other runtimes: layers are plain convolutions there, grouped where
# they are depthwise, because these are what such runtimes have kernels for.
PORTABLE = "portable"
