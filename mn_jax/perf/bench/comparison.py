"""Compares this package's step with those of peers, by interleaved timing."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.perf import ratio
from mn_jax.perf.bench import interleaved
from mn_jax.perf.bench.interleaved import Library, SideProcess
from mn_jax.perf.bench.side_process import Case

# Memory formats of images: both are timed on CPUs; GPUs want channels last.
LAYOUTS = ("auto", "on", "off")


_PEERS = "mn_jax.perf.bench.peers"
_TIMM = Library(f"{_PEERS}.timm_torch", ("torch", "timm"), layouts=True)
_KERAS = f"{_PEERS}.keras_networks"
PEERS = {
  "timm-eager": dataclasses.replace(_TIMM, backend="eager"),
  "timm-compile": dataclasses.replace(_TIMM, backend="compile"),
  "keras-jax": Library(_KERAS, ("keras", "jax"), "jax"),
  "keras-torch": Library(_KERAS, ("keras", "torch"), "torch"),
  "plain-jax": Library(f"{_PEERS}.plain_jax", ("flax", "optax", "jax")),
}
_OURS = Library("mn_jax.perf.bench.own_step", ("jax",))


def measure(
  case: Case,
  peers: Sequence[str],
  *,
  repeats: int,
  steps: int,
  timeout: float,
  channels_last: str = "auto",
  python_of: Callable[[Library], str] = lambda _: sys.executable,
  skip_missing: bool = False,
) -> dict[str, Any]:
  """Times this package's step and those of peers, as JSON.

  Args:
    case: what is measured.
    peers: names in PEERS.
    repeats: how often each library is timed.
    steps: that it takes each time.
    timeout: seconds after which a silent side process is given up.
    channels_last: of LAYOUTS; 'auto' measures both on a CPU.
    python_of: the interpreter of a peer.
    skip_missing: whether a peer that cannot be started is left out.

  Returns:
    'ours'; 'peers' by name, each with 'ratio' and its 95 % interval, or
    'failed' with the reason; 'peer' and 'ratio' of the first, or None;
    'floors' of `roofline.of_network`; and the 'case'.

  Raises:
    InputError: if a peer cannot run.
    SideError: if one of the side processes fails.
  """
  with contextlib.ExitStack() as stack:

    def start(name: str, library: Library, case: Case) -> SideProcess:
      python = sys.executable if library is _OURS else python_of(library)
      side = SideProcess(name, python, library, case, timeout)
      return stack.enter_context(contextlib.closing(side))

    sides, failed = {"ours": start("ours", _OURS, case)}, {}
    both = channels_last == "auto" and sides["ours"].ready["device"] == "cpu"
    peer_case = dataclasses.replace(case, channels_last=channels_last != "off")
    for name in peers:
      try:
        sides |= {
          variant: start(name, PEERS[name], variant_case)
          for variant, variant_case in _variants(name, peer_case, both).items()
        }
      except (InputError, interleaved.SideError) as error:
        if not skip_missing:
          raise
        failed[name] = {"failed": str(error)}
    seconds, idle = interleaved.measure(sides, repeats=repeats, steps=steps)
    rows = {
      name: {
        **summarize(seconds[name], case.batch),
        **side.ready,
        **side.call("memory"),
        "idle_cpu_share": idle[name],
      }
      for name, side in sides.items()
    }
    for name in list(sides)[1:]:
      sides[name].close()
    rows["ours"]["compiler_memory_bytes"] = sides["ours"].call("estimate")
    floors = sides["ours"].call("floors")
  _add_ratios(rows, seconds, floors["images_per_sec"])
  results = {name: failed.get(name) or _fastest(name, rows) for name in peers}
  first = results[peers[0]] if peers else {}
  return {
    "ours": rows["ours"],
    "peer": first or None,
    "ratio": first.get("ratio"),
    "peers": results,
    "floors": floors,
    "case": dataclasses.asdict(case),
  }


def _add_ratios(
  rows: dict[str, dict], seconds: dict[str, list[float]], floor: float
) -> None:
  """Adds the percentage of the floor, and the ratio of ours to each peer."""
  for name, row in rows.items():
    row["percent_of_floor"] = 100 * row["images_per_sec"] / floor
    if name != "ours":
      row["ratio"], row["ratio_interval"] = ratio.paired_ratio(
        seconds["ours"], seconds[name]
      )


def summarize(seconds: Sequence[float], batch: int) -> dict[str, Any]:
  """Median, spread and throughput of seconds per step."""
  low, quarter, median, three_quarters, high = np.quantile(
    seconds, (0, 0.25, 0.5, 0.75, 1)
  ).tolist()
  return {
    "images_per_sec": batch / median,
    "median_seconds": median,
    "min_seconds": low,
    "max_seconds": high,
    "quartile_seconds": [quarter, three_quarters],
    "repeats": len(seconds),
  }


def _variants(name: str, case: Case, both: bool) -> dict[str, Case]:
  """The side processes of a peer by name: one, or one per memory format."""
  peer = PEERS[name]
  case = dataclasses.replace(case, backend=peer.backend)
  variants = {name: case}
  if peer.layouts and both:
    first = dataclasses.replace(case, channels_last=False)
    variants[f"{name}, channels first"] = first
  return variants


def _fastest(peer: str, rows: Mapping[str, Any]) -> dict[str, Any]:
  """The variant of a peer with the higher median throughput."""
  variants = {n: r for n, r in rows.items() if n.partition(",")[0] == peer}
  best = max(variants, key=lambda name: variants[name]["images_per_sec"])
  others = {n: r["images_per_sec"] for n, r in variants.items() if n != best}
  row = {**variants[best], "variant": best}
  return row if not others else {**row, "other_variants": others}
