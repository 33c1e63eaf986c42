"""The optional packages that write and run exported files."""

import importlib.util

from mn_jax.errors import InputError


def require(*modules: str) -> None:
  """Checks that packages are installed, without importing them.

  Args:
    *modules: names by which they are imported.

  Raises:
    InputError: naming one that is not.
  """
  for module in modules:
    if importlib.util.find_spec(module) is None:
      raise InputError(
        f"export: got an environment without {module.replace('_', '-')}; "
        "valid: after pip install '.[export]' in a checkout"
      )
