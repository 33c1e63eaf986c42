"""mn_jax: train and compare MobileNet-family image classifiers in JAX."""

__version__ = "0.1.0"
