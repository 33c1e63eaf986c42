"""Times a training run from its config to its end, by what it is spent on."""

import concurrent.futures
import multiprocessing
import pathlib
import tempfile
import time
from typing import Any

import jax

from mn_jax.config import Config
from mn_jax.observe.console import Console
from mn_jax.parallel import compile_cache
from mn_jax.perf.bench import side_process
from mn_jax.run import training


def measure(config: Config) -> dict[str, Any]:
  """Trains in a folder that is deleted afterwards; the result is JSON.

  'step_share' is the part of the wall time in which the loop waited for steps,
  the first of which, with the compiler, is not among them. 'outside_share' is
  the rest: reading the data, compiling, evaluating, saving and the summary.
  Images of all replicas count. 'first_step_cold_seconds' and
  'first_step_warm_seconds' are those of `first_steps`.

  Raises:
    InputError: for a config or data that cannot be used.
  """
  start = time.perf_counter()
  with tempfile.TemporaryDirectory(prefix="mn_jax_bench_") as folder:
    summaries = training.train_and_evaluate(
      config,
      pathlib.Path(folder) / "run",
      console=Console(quiet=True),
      stop_requested=lambda step, saved: False,
    )
  seconds = time.perf_counter() - start
  summary, replicas = summaries[0], len(summaries)
  rate, wait = summary["images_per_sec"], summary["data_wait_share"]
  trained = 0.0
  if rate:  # one step, which compiled, leaves nothing to count
    trained = (summary["steps"] - 1) * config.train.batch_size / rate
  step_share = trained * (1 - (wait or 0.0)) / seconds
  packages = ("jax", "jaxlib", "flax", "optax", "numpy")
  device = jax.devices()[0]
  return {
    "experiment": summary["experiment"],
    "model": summary["model"],
    "device": summary["device"],
    "steps": summary["steps"],
    "batch": config.train.batch_size,
    "replicas": replicas,
    "images_per_sec": rate and rate * replicas,
    "data_wait_share": wait,
    "step_share": step_share,
    "outside_share": 1 - step_share,
    "compile_seconds": summary["compile_seconds"],
    "wall_seconds": seconds,
    **first_steps(config),
    "peak_memory_bytes": side_process.peak_memory(),
    "peak_device_memory_bytes": side_process.peak_device_memory(device),
    "versions": side_process.versions(packages),
  }


def first_steps(config: Config) -> dict[str, float]:
  """Times a run from the start of its process to the end of its first step.

  Two processes start and import this package, one after the other: 'cold'
  compiles everything, 'warm' finds what the first has kept. Images are decoded
  already.
  """
  seconds = {}
  with tempfile.TemporaryDirectory(prefix="mn_jax_bench_") as folder:
    for name in ("cold", "warm"):
      with concurrent.futures.ProcessPoolExecutor(
        max_workers=1, mp_context=multiprocessing.get_context("spawn")
      ) as process:
        first_step = process.submit(_first_step, config, folder, time.time())
        seconds[f"first_step_{name}_seconds"] = first_step.result()
  return seconds


def _first_step(config: Config, folder: str, started: float) -> float:
  """Trains one step; returns the seconds from `started` to its end.

  Args:
    config: of the run.
    folder: where compiled programs are kept.
    started: `time.time()` before the process was.
  """
  compile_cache.keep(folder)
  ends: list[float] = []

  # Asked before the first step, which is waited for, and after it.
  def stop_requested(step: int, saved: bool) -> bool:
    del saved
    ends.extend([time.time()] * bool(step))
    return step > 0

  with tempfile.TemporaryDirectory(prefix="mn_jax_bench_") as workdir:
    training.train_and_evaluate(
      config,
      pathlib.Path(workdir) / "run",
      console=Console(quiet=True),
      stop_requested=stop_requested,
    )
  return ends[0] - started
