"""Ships `configs` as the package `mn_jax.configs`; see pyproject.toml."""

import setuptools

CONFIGS = setuptools.find_namespace_packages("configs", exclude=["__pycache__"])

setuptools.setup(
  packages=[
    *setuptools.find_packages(include=["mn_jax", "mn_jax.*"]),
    "mn_jax.configs",
    *(f"mn_jax.configs.{folder}" for folder in CONFIGS),
  ],
  package_dir={"mn_jax.configs": "configs"},
  package_data={"mn_jax": ["py.typed"]},
)
