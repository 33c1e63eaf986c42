"""The training step of a config on abstract values: shapes without arrays."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.data.datasets import registry as datasets
from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import network as network_lib
from mn_jax.train import optimizer, state, step
from mn_jax.train.rules import Rules

# Of the learning rate's schedule: constants of the program.
_SCHEDULE_STEPS, _WARMUP_STEPS = 1000, 100


@dataclasses.dataclass(frozen=True)
class AbstractStep:
  """A training step before it is lowered.

  Weights start from scratch, also where a config starts from pretrained ones,
  and classes weigh the same: neither changes what is computed. A frozen
  backbone runs in every step, also where training would compute its features
  once. What costs time in training and is left out here: a teacher, and the
  rounding of `model.fake_quant`.

  Attributes:
    config: with the global batch as its batch size.
    classes: number of logits.
    network: the network's definition.
    module: the network.
    rules: which parameters are trained.
    tx: the optimizer.
    state: ShapeDtypeStructs of the training state.
    batch: ShapeDtypeStructs of a global batch.
  """

  config: Config
  classes: int
  network: registry.Network
  module: Classifier
  rules: Rules
  tx: optax.GradientTransformation
  state: state.TrainState
  batch: dict[str, jax.ShapeDtypeStruct]

  def train_step(self, mesh: Mesh) -> Callable:
    """Returns the compiled train step for the devices of a mesh."""
    return step.make_train_step(
      self.module,
      self.network.conventions,
      self.tx,
      self.config,
      mesh,
      rules=self.rules,
      class_weights=np.ones(self.classes, np.float32),
      log_prior=np.log(np.full(self.classes, 1 / self.classes, np.float32)),
    )

  def lower(self, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the train step for the devices of a mesh."""
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    return self.train_step(mesh).lower(self.state, self.batch, seed)

  def initial_state(self, mesh: Mesh) -> state.TrainState:
    """Returns a training state on all devices of a mesh."""
    config = self.config
    values = variables.initial_values(
      self.module, train_resolution(config), config.seed
    )
    return mesh_lib.replicate(
      mesh, _create_state(config, values, self.tx, self.rules)
    )

  def random_batch(self) -> dict[str, np.ndarray]:
    """Returns this process's part of a random batch."""
    draw = np.random.default_rng(self.config.seed)
    count = self.config.train.batch_size // jax.process_count()
    shape = (count, *self.batch["image"].shape[1:])
    return {
      "image": draw.integers(0, 256, shape, np.uint8),
      "id": np.arange(count, dtype=np.int32),
      "label": draw.integers(0, self.classes, count, np.int32),
      "mask": np.ones(count, np.float32),
    }


def make(
  config: Config, *, global_batch: int, num_devices: int
) -> AbstractStep:
  """Makes the training step of a config at a batch size.

  Args:
    config: of one run.
    global_batch: images per step over all devices.
    num_devices: that share it.

  Raises:
    InputError: for a config that cannot be trained, a data set that does not
      tell its classes, or a batch that does not divide.
  """
  mesh_lib.check_batch_size(
    "batch", global_batch, config.optim.accumulate, num_devices=num_devices
  )
  config = dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=global_batch)
  )
  classes = _classes(config)
  network = network_lib.describe(config, classes)
  module, rules = network_lib.make_module(
    config, network, num_devices=num_devices
  )
  schedule = optimizer.make_schedule(
    config.optim,
    _SCHEDULE_STEPS,
    _WARMUP_STEPS,
    batch_size=global_batch,
    decay_steps=_WARMUP_STEPS,
  )
  tx = optimizer.make_optimizer(config.optim, schedule, rules)
  size = config.data.image_size
  if config.data.short_side:
    size = train_resolution(config)

  def init(values: dict) -> state.TrainState:
    return _create_state(config, values, tx, rules)

  def array(dtype: type, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((global_batch, *shape), dtype)

  return AbstractStep(
    config=config,
    classes=classes,
    network=network,
    module=module,
    rules=rules,
    tx=tx,
    state=jax.eval_shape(
      init, variables.shapes(module, train_resolution(config))
    ),
    batch={
      "image": array(jnp.uint8, size, size, 3),
      "id": array(jnp.int32),
      "label": array(jnp.int32),
      "mask": array(jnp.float32),
    },
  )


def _create_state(
  config: Config, values: dict, tx: optax.GradientTransformation, rules: Rules
) -> state.TrainState:
  return state.create(values, tx, rules, ema=config.train.ema_decay > 0)


def resident_bytes(config: Config) -> int:
  """Bytes of every device's memory that the data set takes, if it lives there.

  All of its published images count: which of them are for training is known
  only when it is read.
  """
  if config.data.placement != "device":
    return 0
  images = datasets.get(config.data.name).images
  return images * config.data.image_size**2 * 3


def num_bytes(tree: object) -> int:
  """The size of all arrays of a tree of shapes."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _classes(config: Config) -> int:
  count = config.data.classes or len(datasets.get(config.data.name).classes)
  if not count:
    raise InputError(
      f"data.classes: got 0 for {config.data.name!r}, whose images alone tell "
      "their classes; valid: 2 or more, as no image is read"
    )
  return count
