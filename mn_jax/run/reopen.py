"""Opens a finished or stopped run from its workdir, to evaluate or predict."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from mn_jax import config as config_lib
from mn_jax.augment import views
from mn_jax.config import changes, checks
from mn_jax.data import loader, packing, resizing
from mn_jax.errors import InputError
from mn_jax.metrics import predictions
from mn_jax.metrics.predictions import Predictions
from mn_jax.models import registry
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh
from mn_jax.run import network as network_lib
from mn_jax.run import recalibrate, records, split_data
from mn_jax.run import workdir as workdir_lib
from mn_jax.train import checkpoint, checkpoint_files, evaluate, step
from mn_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class SavedRun:
  """A saved run and one of its checkpoints.

  Attributes:
    path: its workdir, in which nothing is written.
    config: the experiment.
    network: the network's definition.
    module: the network, BatchNorm not folded.
    classes: their names, in the order of the logits.
    step: of the checkpoint.
    variables: what the checkpoint is evaluated with: 'params' and
      'batch_stats' (their moving averages, if the run kept them), f32 NumPy
      arrays.
    digests: sha256 of the run's 'split', 'images' and 'labels', as far as the
      checkpoint has them.
  """

  path: pathlib.Path
  config: config_lib.Config
  network: registry.Network
  module: Classifier
  classes: tuple[str, ...]
  step: int
  variables: dict
  digests: dict[str, str]

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels, or none."""
    return self.config.data.multi_label

  def data(self, progress: packing.Progress) -> split_data.SplitData:
    """Loads the run's data set, packed and split; decodes it if need be.

    Args:
      progress: called while images are decoded.

    Raises:
      InputError: if it cannot be used, or is not what the run started with.
    """
    data = split_data.load(self.config.data, progress)
    workdir_lib.check_digests(self.path, data.digests(), self.digests)
    return data

  def check_single_images(self) -> None:
    """Refuses a run that saw images which no single image can be made like.

    Raises:
      InputError: if the images of a group were computed together.
    """
    for name, none in (("stain_normalisation", "none"), ("context", 0)):
      value = getattr(self.config.data, name)
      if value != none:
        raise InputError(
          f"--workdir: got {str(self.path)!r}, which was trained with "
          f"data.{name}={value}, from all images of a group together; valid: "
          "`evaluate --data` for groups of images, or another run"
        )

  def read_image(self, data: bytes) -> np.ndarray:
    """Decodes an image file, u8[size, size, 3], as the run evaluates it.

    Where other sizes were dropped in training, they are squeezed here.

    Raises:
      DecodeError: if it cannot be decoded.
      InputError: as `check_single_images`.
    """
    self.check_single_images()
    section = self.config.data
    return resizing.decode_and_fit(
      data,
      size=section.image_size,
      other_sizes=section.other_sizes,
      bits=section.bits,
      crop_share=section.crop_share,
    )

  def fit_image(self, image: np.ndarray) -> np.ndarray:
    """Makes a decoded image u8[h, w, 3] as large as the run evaluates it.

    Returns:
      u8[size, size, 3].
    """
    section = self.config.data
    return resizing.fit(
      image,
      size=section.image_size,
      other_sizes=section.other_sizes,
      crop_share=section.crop_share,
    )

  def predict(
    self,
    data: split_data.SplitData,
    rows: np.ndarray,
    view: views.View = views.PLAIN,
  ) -> Predictions:
    """Predicts images of the data set by the eval step of training.

    Args:
      data: of the run, or other images that were read by its rules.
      rows: i64[n], rows of its cache.
      view: symmetry that every image is seen by.

    Raises:
      RunError: if logits are not finite.
    """
    eval_step, state, put = self._program
    batches = (
      {**batch, "image": view(batch["image"])}
      for batch in self._batches(data, rows)
    )
    predicted = evaluate.predict(eval_step, state, batches, put)
    predictions.check_finite(predicted.logits)
    return predicted

  def predict_with_features(
    self, data: split_data.SplitData, rows: np.ndarray
  ) -> tuple[Predictions, np.ndarray]:
    """As `predict`, and returns the features f32[n, channels] too."""
    eval_step, state, put = self._program
    predicted, features = evaluate.predict_with_features(
      eval_step, state, self._batches(data, rows), put
    )
    predictions.check_finite(predicted.logits)
    return predicted, features

  def _batches(
    self, data: split_data.SplitData, rows: np.ndarray
  ) -> Iterator[loader.Batch]:
    size = self.config.eval.batch_size
    mesh.check_batch_size("--batch-size", size)
    return loader.eval_batches(
      data.cache.images, data.cache.labels, rows, batch_size=size
    )

  @functools.cached_property
  def _program(self) -> tuple[step.EvalStep, TrainState, Callable]:
    """The compiled eval step, its state, and what puts batches on the mesh."""
    the_mesh = mesh.make_mesh()
    state = TrainState(
      step=np.int32(self.step),
      params=self.variables["params"],
      batch_stats=self.variables["batch_stats"],
      opt_state=(),
      ema_params={},
      ema_batch_stats={},
    )
    eval_step = step.make_eval_step(
      self.module, self.network.conventions, self.config, the_mesh
    )
    put = mesh.HostImages(the_mesh).put
    return eval_step, mesh.replicate(the_mesh, state), put

  def with_batch_statistics(
    self, data: split_data.SplitData, count: int
  ) -> tuple["SavedRun", int]:
    """The run with statistics of batches in place of its running statistics.

    See `recalibrate.batch_statistics`; batches are as large as those that
    training normalises by.

    Args:
      data: of the run.
      count: of training images, taken evenly from the part as they are, in
        whole batches; at least 1.

    Returns:
      The run, and the number of images that the statistics are of.

    Raises:
      InputError: if the network has no BatchNorm that has such a lag.
    """
    count = min(count, len(data.part("train")))
    micro_batch = self.config.train.batch_size // self.config.optim.accumulate
    size = min(count, micro_batch)
    rows = data.spread("train", batches=count // size, batch_size=size)
    variables = recalibrate.batch_statistics(
      self.module,
      self.network.conventions,
      self.variables,
      (np.asarray(data.cache.images[batch]) for batch in rows),
      resolution=self.config.model.resolution,
    )
    return dataclasses.replace(self, variables=variables), rows.size


def open_run(
  path: pathlib.Path,
  *,
  step: int | None = None,
  data_path: str | None = None,
  data_root: str | None = None,
  cache_dir: str | None = None,
  batch_size: int | None = None,
) -> SavedRun:
  """Opens a run from its workdir.

  Args:
    path: its workdir.
    step: of the checkpoint; None for the best that is not damaged, or the
      newest where none was validated.
    data_path, data_root, cache_dir, batch_size: instead of the run's data.path,
      data.root, data.cache_dir and eval.batch_size; None for those.

  Raises:
    InputError: if the folder is not that of a run of this version, or has no
      such checkpoint.
    RunError: if the machine does not let the checkpoint be read.
  """
  saved = records.read_object(path / "config.json", records.CONFIG)
  described = records.read_object(path / "network.json", records.NETWORK)
  try:
    config = _config(saved)
    network = registry.from_dict(described["network"])
    module, _ = network_lib.make_module(config, network)
    classes = tuple(described["classes"])
    if len(classes) != network.num_classes:
      raise ValueError(f"{len(classes)} classes, {network.num_classes} logits")
  except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"--workdir: got {str(path)!r}, whose config.json or network.json cannot "
      f"be understood ({error}); valid: the folder of a run of this version"
    ) from None
  step, variables = _read(path, step)
  position = checkpoint_files.read_position(path / "checkpoints" / str(step))
  if batch_size is not None:
    config = _replace(config, "eval", batch_size=batch_size)
  if data_path is not None:
    config = _replace(config, "data", path=data_path)
  if data_root is not None:
    config = _replace(config, "data", root=data_root)
  if cache_dir is not None:
    config = _replace(config, "data", cache_dir=cache_dir)
  return SavedRun(
    path=path,
    config=config,
    network=network,
    module=module,
    classes=classes,
    step=step,
    variables=jax.tree.map(np.asarray, variables),
    digests={
      what: position.data[what]
      for what in ("split", "images", "labels")
      if what in position.data
    },
  )


def _config(saved: dict[str, Any]) -> config_lib.Config:
  """The config of a run, which may be of a version with other fields.

  Raises:
    InputError: if a field that this version does not have tells of the network
      or the data; others are of the training, which is over.
  """
  fields, unknown = changes.read(saved["config"])
  results = saved.get("result_fields", unknown)
  for name in unknown:
    if name in results and name.startswith(("data.", "model.")):
      raise InputError(f"{name}: unknown field")
  values = config_lib.default()
  values.update_from_flattened_dict(fields)
  return checks.from_config_dict(values)


def _read(path: pathlib.Path, step: int | None) -> tuple[int, dict]:
  """Reads a checkpoint, the given one or the best; returns its step too."""
  if step is None:
    return checkpoint.read_best(path)
  available = checkpoint.steps(path)
  if step not in available:
    raise InputError(
      f"--step: got {step}; valid: {', '.join(map(str, available))}, the "
      f"checkpoints in {str(path)!r}"
    )
  return step, checkpoint.read_variables(path, step)


def _replace(
  config: config_lib.Config, section: str, **values: str | int
) -> config_lib.Config:
  checks.check_fields(section, getattr(config, section), **values)
  changed = dataclasses.replace(getattr(config, section), **values)
  return dataclasses.replace(config, **{section: changed})
