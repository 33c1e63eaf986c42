"""Times formulations against each other: `python -m mn_jax.tools.bench`.

Measures one training step of a network as it is trained here, and the same
step with depthwise convolutions left to XLA's grouped convolution, turn by
turn in one process: ratios survive a noisy machine, absolute times do not.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import app, flags, logging

from mn_jax import allocator, mesh, optim, state, step
from mn_jax.config import Config, ModelConfig, OptimConfig
from mn_jax.models import registry, variables
from mn_jax.observe.console import Console
from mn_jax.ops import depthwise
from mn_jax.rules import Rules

_MODEL = flags.DEFINE_enum(
  "model", "mobilenet_v1", list(registry.MODELS), "network"
)
_RESOLUTION = flags.DEFINE_integer("resolution", 50, "input size in pixels")
_BATCH = flags.DEFINE_integer("batch", 32, "images per step")
_REPEATS = flags.DEFINE_integer("repeats", 11, "timed steps of each variant")
_JSON = flags.DEFINE_bool("json", False, "print JSON instead of a table")

# Variant -> what every platform uses in it.
VARIANTS = {"shifted": depthwise.shifted, "grouped": depthwise.grouped}


def make_step(
  model: str, resolution: int, batch_size: int, formulation: Callable
) -> Callable[[], None]:
  """Compiles a training step; the result runs it once and waits for it.

  Args:
    model: a name in the registry.
    resolution: input height and width in pixels.
    batch_size: images per step.
    formulation: the depthwise convolution to use.
  """
  config = Config(model=ModelConfig(name=model), optim=OptimConfig())
  network = registry.describe(model, num_classes=2)
  module = registry.build(network)
  rules = Rules(config.optim.rules)
  tx = optim.make_optimizer(config.optim, lambda _: 1e-4, rules)
  devices = mesh.make_mesh()
  current = mesh.replicate(
    devices,
    state.create(
      variables.initial_values(module, resolution, seed=0),
      tx,
      rules,
      ema=False,
    ),
  )
  draw = np.random.default_rng(0)
  shape = (batch_size, resolution, resolution, 3)
  batch = mesh.HostImages(devices).put(
    {
      "image": draw.integers(0, 256, shape, np.uint8),
      "label": draw.integers(0, 2, batch_size, np.int32),
      "mask": np.ones(batch_size, np.float32),
    }
  )
  train_step = step.make_train_step(
    module,
    network.conventions,
    tx,
    config,
    devices,
    rules=rules,
    class_weights=np.ones(2, np.float32),
    log_prior=np.log(np.full(2, 0.5, np.float32)),
  )
  chosen = dict(depthwise.FORMULATIONS)
  depthwise.FORMULATIONS.update(dict.fromkeys(chosen, formulation))
  try:
    compiled = train_step.lower(current, batch).compile()
  finally:
    depthwise.FORMULATIONS.update(chosen)

  def run() -> None:
    nonlocal current
    current, sums = compiled(current, batch)
    jax.block_until_ready(sums)

  return run


def measure(
  runs: dict[str, Callable[[], None]], repeats: int
) -> dict[str, list[float]]:
  """Seconds of each variant's runs, taken in turn after one warm-up each."""
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for turn in range(repeats + 1):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      if turn:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def main(argv: Sequence[str]) -> None:
  """Prints medians, spread and the ratio to the first variant."""
  del argv
  logging.set_verbosity(logging.WARNING)
  allocator.keep_freed_memory()
  runs = {
    name: make_step(_MODEL.value, _RESOLUTION.value, _BATCH.value, formulation)
    for name, formulation in VARIANTS.items()
  }
  seconds = measure(runs, _REPEATS.value)
  first = statistics.median(next(iter(seconds.values())))
  results = {
    name: {
      "median_seconds": statistics.median(taken),
      "min_seconds": min(taken),
      "max_seconds": max(taken),
      "images_per_sec": _BATCH.value / statistics.median(taken),
      "ratio": statistics.median(taken) / first,
    }
    for name, taken in seconds.items()
  }
  if _JSON.value:
    print(json.dumps({"device": mesh.device_kind(), "variants": results}))
    return
  Console().table(
    f"Train step: {_MODEL.value}, {_RESOLUTION.value} px, batch "
    f"{_BATCH.value}, {mesh.device_kind()}, jax {jax.__version__}",
    ("depthwise", "median ms", "min-max ms", "images/s", "times as long"),
    [
      (
        name,
        f"{1e3 * r['median_seconds']:.1f}",
        f"{1e3 * r['min_seconds']:.1f}-{1e3 * r['max_seconds']:.1f}",
        f"{r['images_per_sec']:,.0f}",
        f"{r['ratio']:.2f}",
      )
      for name, r in results.items()
    ],
  )


if __name__ == "__main__":
  app.run(main)
