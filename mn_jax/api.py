"""The Python interface: list_models, create_model, load, fit, evaluate.

`mn_jax` re-exports all of it and imports it when it is first used. Paths are
`str` or `pathlib.Path`. What cannot be used is an `InputError` of one line,
what fails although all is right a `RunError`; both are in `mn_jax`.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from mn_jax.commandline import failures
from mn_jax.config import overrides as overrides_lib
from mn_jax.config import own_data, paths
from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.model import Model
from mn_jax.errors import InputError
from mn_jax.evaluation import evaluation
from mn_jax.evaluation.evaluation import Evaluation
from mn_jax.models import registry
from mn_jax.observe.console import Console
from mn_jax.own_images import interactive
from mn_jax.parallel import allocator, compile_cache
from mn_jax.report import evaluation_tables
from mn_jax.run import records, reopen
from mn_jax.weights import locate

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
    weights: 'imagenet', 'hf:OWNER/NAME' or 'hf:OWNER/NAME@REVISION' on the
      Hugging Face Hub (timm's layout), or a file: of Keras Applications, or
      .safetensors of timm or torchvision. None: randomly initialised.
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
    name_of_weights = _weights(weights, "weights")
    made = trained_lib.backbone_of(name_of_weights, network, names, seed=seed)
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
    path: folder of a run (a workdir), whose best checkpoint is loaded; or
      weights with a classifier, as `create_model` takes them, or a folder that
      `mn-jax push` wrote.
    model: of weights only: name of their network; None for what `mn-jax push`
      wrote, which says it.
    classes: of weights only: names of the classes in the order of the outputs.
      None: those of the file, of ImageNet if there are 1000, or numbers.
    width, minimalistic: of weights only, as `create_model` takes them.
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
  name = _weights(path, "path")
  _start()
  place = pathlib.Path(name)
  if not locate.is_path(name) or place.is_file() or _is_pushed(place):
    if step is not None:
      raise InputError(
        f"step: got {step} with the weights {name!r}; valid: a run, or no step"
      )
    if model is None:
      made = None
      if not classes and width == 1 and not minimalistic:
        made = trained_lib.from_export(name)
      if made is None:
        raise InputError(
          f"model: got None with the weights {name!r}; valid: model=NAME of "
          "their network, or alone what mn-jax push wrote"
        )
      return Model(made, precision=precision)
    network = _network(model, 1, width, minimalistic)
    made = trained_lib.from_weights(name, network, classes=classes or ())
    return Model(made, precision=precision)
  if not place.exists():
    raise InputError(
      f"path: got {name!r}, which does not exist; valid: the folder of a run, "
      "or a file of weights"
    )
  of_weights = {
    "model": model is not None,
    "classes": classes is not None,
    "width": width != 1,
    "minimalistic": minimalistic,
  }
  for argument in (argument for argument, used in of_weights.items() if used):
    raise InputError(
      f"{argument}: got it with {name!r}, the folder of a run, which has its "
      "own; valid: with a file of weights"
    )
  return _of_run(place, step=step, precision=precision)


def fit(
  data: Path,
  model: str = "mobilenet_v2",
  workdir: Path | None = None,
  *,
  weights: Path | None = None,
  epochs: float | None = None,
  batch_size: int | None = None,
  learning_rate: float | None = None,
  seed: int | None = None,
  verbose: bool = True,
  **overrides: Any,
) -> Model:
  r"""Trains a network on images of yours, as `mn-jax train --data` does.

  What is not given is chosen for the images, and printed with its reason. A run
  that was stopped, by Ctrl-C or "interrupt kernel" too, is saved, and the same
  call resumes it; one that has ended is only loaded. In another thread than the
  main one nothing interrupts it.

  Args:
    data: folder or archive (.zip, .tar) with a folder for each class, or with
      train/ and test/ of these; or a table (.csv, .tsv, .parquet) with columns
      of paths and labels, see docs/data.md.
    model: name of the network, see `list_models`.
    workdir: folder of the run; None for `runs/NAME` of the data.
    weights: to start from, as `create_model` takes them. None: ImageNet's, if
      they are on this machine, else from scratch; these are looked for whatever
      is trained. To train from scratch: model__transfer="scratch".
    epochs: length of the run.
    batch_size: images per step.
    learning_rate: its peak.
    seed: of initial values, order, augmentation and dropout.
    verbose: whether progress and results are printed.
    **overrides: any other field of the configuration, as `section__field`, such
      as `data__group_pattern=r"(\d+)_"` or `augment__flip="both"`; all are in
      docs/config.md.

  Returns:
    The model of the best checkpoint; `summary` has the results.

  Raises:
    InputError: for data or a field that cannot be used, naming it, and for a
      workdir of another run.
    RunError: if the machine fails, or the loss is no longer finite.
    KeyboardInterrupt: after Ctrl-C, with all training saved.

  Example:
    >>> model = mn_jax.fit("photos", workdir="runs/photos", epochs=5)
    >>> model.summary["test/balanced_accuracy"]
    0.93
  """
  if not isinstance(model, str):
    raise InputError(
      f"model: got {type(model).__name__}; valid: the name of a network, "
      f"{', '.join(list_models())}; weights are an argument of their own"
    )
  named = {
    "model__name": model,
    "model__weights": None if weights is None else _weights(weights, "weights"),
    "train__epochs": epochs,
    "train__batch_size": batch_size,
    "optim__learning_rate": learning_rate,
    "seed": seed,
  }
  named = {name: value for name, value in named.items() if value is not None}
  given = overrides_lib.from_keywords([*named.items(), *overrides.items()])
  source = _text(data, "data")
  folder = own_data.default_workdir(source)
  if workdir is not None:
    folder = pathlib.Path(_text(workdir, "workdir"))
  _start()
  with failures.as_run_error():
    interactive.train(source, folder, given, _console(verbose))
  return load(folder)


def evaluate(
  model: Model | Path | Sequence[Model | Path],
  data: Path,
  *,
  views: str = "",
  calibrated: bool = False,
  conformal: float | None = None,
  verbose: bool = True,
  **overrides: Any,
) -> Evaluation:
  """Evaluates a trained model on new labelled images.

  Nothing is fitted to these images: thresholds and temperatures are those that
  the run's validation part chose. Images that training has seen are looked for.

  Args:
    model: of a run, or the folder of one; several are an ensemble.
    data: folder, archive or table of the images, as `fit` takes them, whose
      classes are those of the run. It may lack some.
    views: 'auto' averages over the symmetries that training showed (test-time
      augmentation); '' does not.
    calibrated: whether logits are divided by the temperature that fits
      validation best.
    conformal: share of prediction sets that may miss the label, such as 0.1;
      None for no sets.
    verbose: whether progress and metrics are printed.
    **overrides: how the images are listed, as `data__FIELD` of docs/config.md,
      such as `data__label=("diagnosis",)`.

  Returns:
    Metrics with 95 % intervals, in `intervals` by name, and all that they are
    computed from.

  Raises:
    InputError: for images that cannot be used, a class that the run does not
      have, or a model of no run.

  Example:
    >>> result = mn_jax.evaluate(model, "new_photos")
    >>> accuracy = result.intervals["accuracy"]
    >>> accuracy.value, accuracy.low, accuracy.high
    (0.91, 0.87, 0.95)
  """
  source = _text(data, "data")
  changes = overrides_lib.from_keywords(overrides.items())
  for path in changes:
    if not path.startswith("data."):
      raise InputError(f"{path}: got it for new images; valid: data__FIELD")
  members = [model] if isinstance(model, Model | str | os.PathLike) else model
  runs = [
    (member if isinstance(member, Model) else load(member)).saved_run()
    for member in members
  ]
  if not runs:
    raise InputError("model: got none; valid: a model, or several")
  _start()
  console = _console(verbose)
  with failures.as_run_error():
    result = evaluation.evaluate(
      runs,
      source,
      changes={k.removeprefix("data."): v for k, v in changes.items()},
      options=evaluation.Options(
        views=views, calibrated=calibrated, conformal=conformal
      ),
      console=console,
    )
  evaluation_tables.show(console, result)
  for note in result.notes:
    console.line(f"Note: {note}")
  return result


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
    run=run,
    summary=summary,
  )


def _console(verbose: bool) -> Console:
  return Console(quiet=not verbose, needs_reader=False)


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


def _weights(path: Path, name: str) -> str:
  """Returns a name of weights, or a path of this machine as text."""
  is_name = isinstance(path, str) and not locate.is_path(path)
  return path if is_name else _text(path, name)


def _is_pushed(path: pathlib.Path) -> bool:
  """Whether a folder is not that of a run, but what `mn-jax push` wrote."""
  return (path / "model.safetensors").is_file()


def _text(path: Path, name: str) -> str:
  """Returns a path of this machine as text; ~ is the home folder."""
  if not isinstance(path, str | os.PathLike):
    raise InputError(
      f"{name}: got {type(path).__name__}; valid: a path, str or pathlib.Path"
    )
  return str(paths.local(os.fsdecode(path), name))
