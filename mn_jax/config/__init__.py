"""An experiment's configuration: what a config file imports.

`default()` gives an `ml_collections.ConfigDict` to change, `variant` applies a
named set of changes to one, and `Config` is what the package makes of it.
"""

from mn_jax.config.experiment import Config, default, variant

__all__ = ["Config", "default", "variant"]
