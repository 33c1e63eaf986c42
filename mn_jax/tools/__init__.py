"""Programs around training: `python -m mn_jax.tools.NAME --help`."""
