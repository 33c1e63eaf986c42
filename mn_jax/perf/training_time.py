"""How long a run would take: some of its steps, measured on this machine."""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from mn_jax.config import Config
from mn_jax.config import plan as plan_lib
from mn_jax.observe.formatting import rough_duration
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.perf import abstract_step

_STEPS = 3
# Multiply-adds of a forward pass over those of a training step.
_FORWARD = 1 / 3


@dataclasses.dataclass(frozen=True)
class TrainingTime:
  """The parts of an estimate, in seconds.

  Attributes:
    compile: until the first step was done, measured.
    step: of a training step, the median of three.
    steps: of the whole run, without early stopping.
    evaluation: all validations and the test: a third of the time of a training
      step for each image.
    decode: of all images, once.
    device: where it was measured.
  """

  compile: float
  step: float
  steps: int
  evaluation: float
  decode: float
  device: str

  @property
  def total(self) -> float:
    """All of it."""
    return self.decode + self.compile + self.steps * self.step + self.evaluation

  def text(self) -> str:
    """Returns the estimate and what it assumes, in words."""
    parts = (
      f"{self.steps:,} steps of {self.step:.2g} s",
      f"{rough_duration(self.compile)} to compile",
      f"{rough_duration(self.decode)} to decode the images once",
      f"{rough_duration(self.evaluation)} to validate and test",
    )
    return (
      f"about {rough_duration(self.total)} on {self.device}, if early stopping "
      f"does not end it sooner: {', '.join(parts)}. {_STEPS} steps were "
      "measured now; validating an image is taken as a third of training on it"
    )


def measure(
  config: Config,
  *,
  classes: int,
  images: dict[str, int],
  decode: Callable[[], float],
) -> TrainingTime:
  """Trains some steps on random pixels, and extrapolates.

  Args:
    config: of the run.
    classes: number of classes or labels.
    images: number of images of each part: 'train', 'val' and 'test'.
    decode: measures the seconds in which all images will be decoded.

  Raises:
    InputError: for a config that cannot be trained.
  """
  plan = plan_lib.resolve(config, images["train"])
  data = dataclasses.replace(config.data, classes=max(2, classes))
  batch = config.train.batch_size
  abstract = abstract_step.make(
    dataclasses.replace(config, data=data),
    global_batch=batch,
    num_devices=mesh_lib.num_devices(),
  )
  mesh = mesh_lib.make_mesh()
  state = abstract.initial_state(mesh)
  placed = mesh_lib.HostImages(mesh).put(abstract.random_batch())
  seed = mesh_lib.replicate(mesh, np.int32(0))
  train_step = abstract.train_step(mesh)
  seconds = []
  for _ in range(1 + _STEPS):
    start = time.perf_counter()
    state, sums = train_step(state, placed, seed)
    jax.block_until_ready((state, sums))
    seconds.append(time.perf_counter() - start)
  step = float(np.median(seconds[1:]))
  validations = sum(map(plan.evaluate.due, range(1, plan.total_steps + 1)))
  # At the end both parts are predicted by the best and the last parameters.
  predicted = images["val"] * (validations + 2) + images["test"] * 2
  return TrainingTime(
    compile=seconds[0],
    step=step,
    steps=plan.total_steps,
    evaluation=predicted * step / batch * _FORWARD,
    decode=decode(),
    device=f"{jax.device_count()} x {jax.devices()[0].device_kind}",
  )
