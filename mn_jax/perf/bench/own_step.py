"""The side process of this package's own step: of training, of inference."""

from collections.abc import Callable

import jax
import numpy as np

from mn_jax.augment import inputs
from mn_jax.config import Config
from mn_jax.config.experiment import ModelConfig, train_resolution
from mn_jax.config.sections.data import DataConfig
from mn_jax.errors import InputError
from mn_jax.models import folding, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import dispatch, image_groups, mesh
from mn_jax.perf import abstract_step
from mn_jax.perf.bench import roofline, side_process


def build(case: side_process.Case) -> side_process.Program:
  """Builds the step on the first device."""
  try:
    registry.check_resolution(case.model, case.resolution)
  except InputError as error:
    raise side_process.RefusedError(str(error)) from None
  if case.mode == "train":  # as a run does
    dispatch.bound_memory(case.batch * case.resolution**2)
  abstract = abstract_step.make(
    config_of(case), global_batch=case.batch, num_devices=1
  )
  make = _trainer if case.mode == "train" else _predictor
  device = jax.devices()[0]
  run, lower = make(abstract)
  return side_process.Program(
    run=run,
    device=device.device_kind,
    packages=("jax", "jaxlib", "flax", "optax", "numpy"),
    device_peak=lambda: side_process.peak_device_memory(device),
    more={
      "estimate": lambda: _estimated_bytes(lower()),
      "floors": lambda: roofline.of_network(case),
    },
  )


def config_of(case: side_process.Case) -> Config:
  """The configuration of a case: default values but for the network."""
  return Config(
    data=DataConfig(image_size=case.resolution, classes=case.classes),
    model=ModelConfig(name=case.model, dtype=case.dtype),
  )


def lower(
  config: Config, device: jax.Device, *, batch: int, train: bool
) -> jax.stages.Lowered:
  """Lowers the step of a config for a device, which need not exist.

  Args:
    config: of one run.
    device: of this machine, or from `program.targets.devices`.
    batch: images per step.
    train: the training step, otherwise the predictor's.

  Raises:
    InputError: see `abstract_step.make`.
  """
  abstract = abstract_step.make(config, global_batch=batch, num_devices=1)
  if train:
    return abstract.lower(mesh.make_mesh([device]))
  predict, module = _predict(abstract)
  sharding = jax.sharding.SingleDeviceSharding(device)
  shapes = variables.shapes(module, train_resolution(abstract.config))
  values, images = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    (
      {**shapes, "params": _cast_backbone(shapes["params"], abstract)},
      abstract.batch["image"],
    ),
  )
  return predict.lower(values, images)


def _trainer(
  abstract: abstract_step.AbstractStep,
) -> tuple[Callable[[int], None], Callable[[], jax.stages.Lowered]]:
  """The training step, and its lowered program."""
  devices = mesh.make_mesh(jax.devices()[:1])
  current = abstract.initial_state(devices)
  placed = mesh.HostImages(devices).put(abstract.random_batch())
  seed = mesh.replicate(devices, np.int32(0))
  train_step = abstract.train_step(devices)

  def run(steps: int) -> None:
    nonlocal current
    for _ in range(steps):
      current, sums = train_step(current, placed, seed)
    jax.block_until_ready((current, sums))

  return run, lambda: train_step.lower(current, placed, seed)


def _predictor(
  abstract: abstract_step.AbstractStep,
) -> tuple[Callable[[int], None], Callable[[], jax.stages.Lowered]]:
  """The predictor's step, and its lowered program."""
  initial = variables.initial_values(
    registry.build(abstract.network),
    train_resolution(abstract.config),
    seed=0,
  )
  folded = folding.fold(initial, epsilon=abstract.network.conventions.epsilon)
  folded["params"] = _cast_backbone(folded["params"], abstract)
  predict, _ = _predict(abstract)
  device = jax.devices()[0]
  values, images = jax.device_put(
    (folded, abstract.random_batch()["image"]), device
  )

  def run(steps: int) -> None:
    for _ in range(steps):
      probabilities = predict(values, images)
    jax.block_until_ready(probabilities)

  return run, lambda: predict.lower(values, images)


def _predict(
  abstract: abstract_step.AbstractStep,
) -> tuple[Callable, Classifier]:
  """The predictor's jitted function of values and images, and its network."""
  conventions = abstract.network.conventions
  module = registry.build(
    abstract.network, dtype=abstract.config.model.dtype, folded=True
  )

  @jax.jit
  def predict(values: dict, images: jax.Array) -> jax.Array:
    def of_group(group: jax.Array) -> jax.Array:
      x = inputs.to_input(
        group, resolution=0, mean=conventions.mean, std=conventions.std
      )
      return jax.nn.softmax(module.apply(values, x, False)[0])

    return image_groups.apply(of_group, images)

  return predict, module


def _cast_backbone(params: dict, abstract: abstract_step.AbstractStep) -> dict:
  """The predictor keeps the backbone in the dtype of its products.

  Args:
    params: arrays, or their shapes.
    abstract: the step that they belong to.
  """
  dtype = np.dtype(abstract.config.model.dtype)

  def cast(x):
    if isinstance(x, jax.ShapeDtypeStruct):
      return jax.ShapeDtypeStruct(x.shape, dtype)
    return x.astype(dtype)

  return {**params, "backbone": jax.tree.map(cast, params["backbone"])}


def _estimated_bytes(lowered: jax.stages.Lowered) -> int:
  """The compiler's estimate of a program's memory; it is compiled already."""
  sizes = lowered.compile().memory_analysis()
  return (
    sizes.argument_size_in_bytes
    + sizes.output_size_in_bytes
    - sizes.alias_size_in_bytes
    + sizes.temp_size_in_bytes
  )


if __name__ == "__main__":
  side_process.serve(build)
