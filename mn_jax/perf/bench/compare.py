"""One case: this package's step and those of peers, taken in turns."""

import contextlib
import dataclasses
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.errors import InputError
from mn_jax.perf.bench import turns, worker

# Two ways that CPUs have of one step; GPUs want channels last.
LAYOUTS = ("auto", "on", "off")
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Peer:
  """A library to compare with.

  Attributes:
    module: the program of its side process.
    way: see `worker.Case`.
    packages: what its interpreter must have.
    foreign: whether it runs in the peers' interpreter by default, not in this.
    layouts: whether it has two layouts of images to choose from.
  """

  module: str
  way: str
  packages: tuple[str, ...]
  foreign: bool
  layouts: bool = False


_PEERS = "mn_jax.bench.peers"
_TIMM = (f"{_PEERS}.timm_torch", ("torch", "timm"))
_KERAS = f"{_PEERS}.keras_networks"
PEERS = {
  "timm-eager": Peer(_TIMM[0], "eager", _TIMM[1], True, layouts=True),
  "timm-compile": Peer(_TIMM[0], "compile", _TIMM[1], True, layouts=True),
  "keras-jax": Peer(_KERAS, "jax", ("keras", "jax"), False),
  "keras-torch": Peer(_KERAS, "torch", ("keras", "torch"), True),
  "plain-jax": Peer(f"{_PEERS}.plain_jax", "", ("flax", "optax", "jax"), False),
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How a case is measured.

  Attributes:
    turns: how often each side is asked.
    steps: that it takes each time.
    timeout: seconds after which a side that is silent is given up.
    channels_last: of LAYOUTS; 'auto' measures both on a CPU.
    peer_python: interpreter of the peers; empty: of those that need their own
      `foreign_python`, of others this one.
    foreign_python: see `peer_python`.
    skip_missing: whether a peer that cannot be started is left out.
  """

  turns: int
  steps: int
  timeout: float
  channels_last: str
  peer_python: str
  foreign_python: str
  skip_missing: bool = False


def measure(
  case: worker.Case, peers: Sequence[str], options: Options
) -> dict[str, Any]:
  """Times this package's step and peers', as JSON.

  Args:
    case: what is measured.
    peers: names in PEERS.
    options: how.

  Returns:
    'ours'; 'peers' by name, each with 'ratio' and its 95 % interval, or
    'failed' with the reason; 'peer' and 'ratio' of the first, or None;
    'floors' of `floors.of_network`; and the 'case'.

  Raises:
    InputError: if a peer cannot run.
    SideError: if one of the sides fails.
  """
  with contextlib.ExitStack() as stack:

    def start(command: turns.Command, case: worker.Case) -> turns.Side:
      side = turns.Side(command, case, timeout=options.timeout)
      return stack.enter_context(contextlib.closing(side))

    sides, failed = {"ours": start(_OURS, case)}, {}
    for name in peers:
      try:
        sides |= {
          variant: start(_command(name, options), its_case)
          for variant, its_case in _variants(
            name, case, options, sides["ours"]
          ).items()
        }
      except (InputError, turns.SideError) as error:
        if not options.skip_missing:
          raise
        failed[name] = {"failed": str(error)}
    times = turns.take(sides, turns=options.turns, steps=options.steps)
    rows = {
      name: {
        **summarize(times[name].seconds, case.batch),
        **side.ready,
        **side.call("memory"),
        "idle_cpu_share": times[name].idle_cpu_share,
      }
      for name, side in sides.items()
    }
    for name in list(sides)[1:]:
      sides[name].close()
    rows["ours"]["compiler_memory_bytes"] = sides["ours"].call("estimate")
    floors = sides["ours"].call("floors")
  for name, row in rows.items():
    row["percent_of_floor"] = (
      100 * row["images_per_sec"] / floors["images_per_sec"]
    )
    if name != "ours":
      row |= ratio(times["ours"].seconds, times[name].seconds)
  found = {name: failed.get(name) or _fastest(name, rows) for name in peers}
  first = found[peers[0]] if peers else {}
  return {
    "ours": rows["ours"],
    "peer": first or None,
    "ratio": first.get("ratio"),
    "peers": found,
    "floors": floors,
    "case": dataclasses.asdict(case),
  }


_OURS = turns.Command(
  "ours", sys.executable, "mn_jax.perf.bench.ours", ("jax",)
)


def summarize(seconds: Sequence[float], batch: int) -> dict[str, float]:
  """Median, spread and throughput of seconds per step."""
  quarters = np.quantile(seconds, (0.25, 0.75))
  median = statistics.median(seconds)
  return {
    "images_per_sec": batch / median,
    "median_seconds": median,
    "min_seconds": min(seconds),
    "max_seconds": max(seconds),
    "quartile_seconds": quarters.tolist(),
    "turns": len(seconds),
  }


def ratio(ours: Sequence[float], peers: Sequence[float]) -> dict[str, Any]:
  """How many times as fast ours is, with a 95 % interval.

  Args:
    ours, peers: seconds per step of the same turns.

  Returns:
    'ratio' of the medians, above 1 where ours is faster, and
    'ratio_interval': turns are drawn with replacement, both sides of each.
  """
  pairs = np.array([ours, peers])
  draw = np.random.default_rng(0)
  chosen = draw.integers(0, len(ours), (_RESAMPLES, len(ours)))
  medians = np.median(pairs[:, chosen], axis=2)
  low, high = np.quantile(medians[1] / medians[0], (0.025, 0.975))
  middle = np.median(pairs, axis=1)
  return {
    "ratio": float(middle[1] / middle[0]),
    "ratio_interval": [float(low), float(high)],
  }


def _command(name: str, options: Options) -> turns.Command:
  peer = PEERS[name]
  python = options.foreign_python if peer.foreign else sys.executable
  return turns.Command(
    name, options.peer_python or python, peer.module, peer.packages
  )


def _variants(
  name: str, case: worker.Case, options: Options, ours: turns.Side
) -> dict[str, worker.Case]:
  """The sides of a peer by name: one, or one for each layout."""
  peer = PEERS[name]
  case = dataclasses.replace(case, way=peer.way)
  if not peer.layouts or options.channels_last != "auto":
    last = options.channels_last != "off"
    return {name: dataclasses.replace(case, channels_last=last)}
  both = {name: case}
  if ours.ready["device"] == "cpu":
    first = dataclasses.replace(case, channels_last=False)
    both[f"{name}, channels first"] = first
  return both


def _fastest(peer: str, rows: Mapping[str, Any]) -> dict[str, Any]:
  """Of a peer's layouts the one with the higher median throughput."""
  found = {n: r for n, r in rows.items() if n.partition(",")[0] == peer}
  best = max(found, key=lambda name: found[name]["images_per_sec"])
  others = {n: r["images_per_sec"] for n, r in found.items() if n != best}
  row = {**found[best], "variant": best}
  return row if not others else {**row, "other_variants": others}
