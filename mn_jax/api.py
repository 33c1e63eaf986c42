"""The Python interface: list_models, create_model, load.

`mn_jax` re-exports all of it and imports it when it is first used. Paths are
`str` or `pathlib.Path`. What cannot be used is an `InputError` of one line,
what fails although all is right a `RunError`; both are in `mn_jax`.
"""

import os
import pathlib
from collections.abc import Sequence

from absl import logging

from mn_jax.config import paths
from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.model import Model
from mn_jax.errors import InputError, RunError
from mn_jax.models import registry
from mn_jax.parallel import allocator, compile_cache
from mn_jax.run import records, reopen
from mn_jax.weights import pretrained

__all__ = [
  "InputError",
  "Model",
  "RunError",
  "create_model",
  "list_models",
  "load",
]

Path = str | os.PathLike[str]


def list_models() -> list[str]:
  """Returns the names of the networks, as `create_model` and `fit` take them.

  Example:
    >>> [name for name in mn_jax.list_models() if "v4" in name]
    ['mobilenet_v4_conv_small', 'mobilenet_v4_conv_medium']
  """
  return list(registry.MODELS)


def create_model(
  name: str,
  weights: Path | None = None,
  classes: int | Sequence[str] | None = None,
  *,
  width: float = 1.0,
  minimalistic: bool = False,
  seed: int = 0,
  precision: str | None = None,
) -> Model:
  """Makes a network with published weights, or randomly initialised.

  Args:
    name: of the network, see `list_models`.
    weights: a file of them: .h5 of Keras Applications, or .safetensors of timm
      or torchvision. None: the network is randomly initialised.
    classes: their names, or how many there are. None: those of the file, or
      ImageNet's 1000. Where the file has another number of classes, the last
      layer is randomly initialised.
    width: width multiplier.
    minimalistic: mobilenet_v3 without squeeze-excite, hard swish and 5x5
      kernels.
    seed: of what is randomly initialised.
    precision: 'float32' (None means that), 'bfloat16', 'int8' or
      'int8_bfloat16', in which it predicts.

  Raises:
    InputError: for an unknown name, or weights that do not fit.

  Example:
    >>> model = mn_jax.create_model("mobilenet_v2", weights="v2.safetensors")
    >>> model.features("photo.jpg").shape
    (1, 1280)
  """
  _start()
  names = None if classes is None else _class_names(classes)
  network = _network(name, len(names or ()) or 1000, width, minimalistic)
  if weights is None:
    names = names or trained_lib.class_names(network.num_classes)
    made = trained_lib.initial(network, names, seed=seed)
  else:
    loaded = pretrained.load(_text(weights, "weights"), network)
    count = loaded.origin.num_classes
    names = names or trained_lib.class_names(count or network.num_classes)
    made = trained_lib.with_head(loaded, names, seed=seed)
  return Model(made, precision=precision)


def load(
  path: Path,
  *,
  model: str | None = None,
  classes: Sequence[str] | None = None,
  width: float = 1.0,
  minimalistic: bool = False,
  step: int | None = None,
  precision: str | None = None,
) -> Model:
  """Loads a trained model: that of a run, or a file of weights.

  Args:
    path: folder of a run (a workdir), whose best checkpoint is loaded; or a
      file of weights, .h5 of Keras Applications or .safetensors of timm or
      torchvision.
    model: of a file only: name of its network.
    classes: of a file only: names of its classes in the order of its outputs.
      None: those of ImageNet if there are 1000, or numbers.
    width, minimalistic: of a file only, as `create_model` takes them.
    step: of a run only: the step of a checkpoint, in place of the best.
    precision: 'float32', 'bfloat16', 'int8' or 'int8_bfloat16', in which it
      predicts. None: that of the run's training, 'float32' for a file.

  Raises:
    InputError: if there is no such run, checkpoint or file, or it is damaged.

  Example:
    >>> model = mn_jax.load("runs/pets")
    >>> model.predict("photo.jpg")
    array([[0.03, 0.97]], dtype=float32)
  """
  place = pathlib.Path(_text(path, "path"))
  _start()
  of_file = {
    "model": model is not None,
    "classes": classes is not None,
    "width": width != 1,
    "minimalistic": minimalistic,
  }
  if place.is_dir():
    for name in (name for name, used in of_file.items() if used):
      raise InputError(
        f"{name}: got it with {str(place)!r}, the folder of a run, which has "
        "its own; valid: with a file of weights"
      )
    return _of_run(place, step=step, precision=precision)
  if not place.exists():
    raise InputError(
      f"path: got {str(place)!r}, which does not exist; valid: the folder of a "
      "run, or a file of weights"
    )
  if model is None or step is not None:
    raise InputError(
      f"{'model' if model is None else 'step'}: got {model or step} with the "
      f"file {str(place)!r}; valid: model=NAME of its network, and no step"
    )
  network = _network(model, 1, width, minimalistic)
  made = trained_lib.from_weights(str(place), network, classes=classes or ())
  return Model(made, precision=precision)


def _of_run(
  path: pathlib.Path, *, step: int | None, precision: str | None
) -> Model:
  run = reopen.open_run(path, step=step)
  compile_cache.keep(run.config.data.cache_dir)
  summary = None
  if (path / "summary.json").exists():
    summary = records.read_summary(path)
  return Model(
    trained_lib.from_run(run),
    precision=precision,
    workdir=path,
    step=run.step,
    summary=summary,
  )


def _start() -> None:
  """Settings of this process that all programs of the package have."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  allocator.keep_freed_memory()
  compile_cache.keep()


def _network(
  name: str, num_classes: int, width: float, minimalistic: bool
) -> registry.Network:
  if not 0 < width <= 4:
    raise InputError(f"width: got {width}; valid: above 0, at most 4")
  return registry.describe(
    name,
    num_classes=num_classes,
    width=width,
    options=registry.Options(minimalistic=minimalistic),
  )


def _class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
  """Returns the names of classes, of which there are two or more."""
  if isinstance(classes, int) and classes > 1:
    return trained_lib.class_names(classes)
  names = () if isinstance(classes, int | str) else tuple(map(str, classes))
  if len(names) < 2 or len(set(names)) < len(names):
    raise InputError(
      f"classes: got {classes!r}; valid: their number, 2 or more, or a "
      "sequence of different names"
    )
  return names


def _text(path: Path, name: str) -> str:
  """Returns a path of this machine as text; ~ is the home folder."""
  if not isinstance(path, str | os.PathLike):
    raise InputError(
      f"{name}: got {type(path).__name__}; valid: a path, str or pathlib.Path"
    )
  return str(paths.local(os.fsdecode(path), name))
