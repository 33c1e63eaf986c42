"""mn_jax: train and compare MobileNet-family image classifiers in JAX.

What Python's users need is here: `fit` trains on images of theirs, `load` and
`create_model` make a `Model`, which predicts, and `evaluate` tells how good it
is on new images; docs/python.md describes them. All of it is imported when it
is first used: importing this package loads neither JAX nor anything slow.
"""

import sys

__version__ = "0.1.0"

# Python sets this while it looks for the program of `python -m`. The imports of
# a program take seconds, in which it can be stopped too.
if sys.argv[:1] == ["-m"] and any(
  word.removeprefix("-m").partition(".")[0] == __name__
  for word in sys.orig_argv
):
  from mn_jax.commandline import signals

  signals.take_over()

# Name -> module that defines it.
_MODULES = {
  "Evaluation": "mn_jax.evaluation.evaluation",
  "InputError": "mn_jax.errors",
  "Model": "mn_jax.deploy.model",
  "RunError": "mn_jax.errors",
  "create_model": "mn_jax.api",
  "evaluate": "mn_jax.api",
  "fit": "mn_jax.api",
  "list_models": "mn_jax.api",
  "load": "mn_jax.api",
}

__all__ = [
  "Evaluation",
  "InputError",
  "Model",
  "RunError",
  "create_model",
  "evaluate",
  "fit",
  "list_models",
  "load",
]

TYPE_CHECKING = False  # as type checkers know it; `typing` is slow to import
if TYPE_CHECKING:
  from mn_jax.api import create_model, evaluate, fit, list_models, load
  from mn_jax.deploy.model import Model
  from mn_jax.errors import InputError, RunError
  from mn_jax.evaluation.evaluation import Evaluation
else:

  def __getattr__(name: str) -> object:
    if name not in _MODULES:
      raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
