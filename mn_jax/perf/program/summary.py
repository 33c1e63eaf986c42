"""Sums of a compiled program's kernels, as JSON, and their differences."""

import collections
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mn_jax.models.counting import Layer
from mn_jax.perf.program import flops, hlo, kernels
from mn_jax.perf.program.kernels import Kernel
from mn_jax.perf.program.places import Place

# What no count of bytes includes, where it occurs.
_UNKNOWN = {
  "cuDNN": "workspaces of cuDNN, and what its kernels read more than once",
  "cuBLAS": "workspaces of cuBLAS, and what its kernels read more than once",
  "oneDNN": "what oneDNN's kernels read more than once",
  "Pallas": "what Pallas kernels read more than once",
  "call of": "what other libraries' calls read more than once",
}
ROWS = ("kinds", "parts", "layers")
_SUMS = ("kernels", "read", "written", "cycles")
# Layers of Flax modules without names of their own: 'Conv_3'.
_UNNAMED = re.compile(r"(?:^|/)(Conv|BatchNorm|Dense)_\d+$")
_UNNAMED_PARTS = {"Conv": "convolution", "BatchNorm": "norm", "Dense": "dense"}


def summarize(
  text: str, *, layers: Sequence[Layer] = (), top: int = 0
) -> dict[str, Any]:
  """Sums up the kernels of a compiled program.

  Args:
    text: of the program, optimised HLO.
    layers: of the network, from `counting.list_layers`; they tell what a
      layer is.
    top: how many of the largest kernels to list.

  Returns:
    'kernels', 'read', 'written' (bytes) and 'cycles' of one run; the same of
    its 'kinds', 'parts', and 'layers', those that move most first; its 'loops';
    the 'largest' kernels; 'flops' of its products; and 'not_counted', in words.

  Raises:
    ValueError: if the text cannot be read.
  """
  program = hlo.parse(text)
  found = kernels.list_kernels(program)
  loops = kernels.list_loops(program)
  part_of = {layer.path: _part(layer) for layer in layers}

  def part(kernel: Kernel) -> dict[str, str]:
    place = kernel.place
    return {
      "part": part_of.get(_layer(place, part_of)) or _unnamed_part(place),
      "direction": place.direction,
    }

  def layer(kernel: Kernel) -> dict[str, str]:
    place = kernel.place
    return {"layer": _layer(place, part_of), "direction": place.direction}

  return {
    **_sums(found),
    "flops": flops.products(program),
    "kinds": _by(found, lambda kernel: {"kind": kernel.kind}),
    "parts": _by(found, part),
    "layers": _by(found, layer),
    "loops": [
      {"name": loop.name, "trips": loop.trips, "times": loop.times}
      for loop in loops
    ],
    "largest": [
      {
        "name": kernel.name,
        "kind": kernel.kind,
        "shape": kernel.shape,
        "times": kernel.times,
        "read": kernel.times * kernel.traffic.read,
        "written": kernel.times * kernel.traffic.written,
        "cycles": kernel.times * kernel.cycles,
        **layer(kernel),
        "other_layers": kernel.others,
      }
      for kernel in sorted(found, key=lambda k: -k.bytes)[:top]
    ],
    "not_counted": _not_counted(found, loops),
  }


def differences(
  new: Mapping[str, Any], old: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
  """Compares the sums of two programs.

  Args:
    new, old: summaries, each with a 'batch' to divide its bytes by.

  Returns:
    By 'kinds', 'parts' and 'layers' the rows of both, each with its sums in the
    'old' and in the 'new' program, bytes per image, and the 'bytes' that are
    more in the new one; those that differ most first.
  """
  return {rows: _differences(new, old, rows) for rows in ROWS}


def _differences(
  new: Mapping[str, Any], old: Mapping[str, Any], rows: str
) -> list[dict[str, Any]]:
  nothing = {side: dict.fromkeys(_SUMS, 0) for side in ("old", "new")}
  by_key: dict[tuple, dict[str, dict]] = {}
  for side, summary in (("old", old), ("new", new)):
    for row in summary[rows]:
      key = tuple((n, v) for n, v in row.items() if n not in _SUMS)
      sums = {name: row[name] for name in _SUMS}
      for name in ("read", "written"):
        sums[name] /= summary["batch"]
      by_key.setdefault(key, dict(nothing))[side] = sums
  compared = [
    {
      **dict(key),
      **sides,
      "bytes": _bytes(sides["new"]) - _bytes(sides["old"]),
    }
    for key, sides in by_key.items()
  ]
  return sorted(compared, key=lambda row: -abs(row["bytes"]))


def _bytes(sums: Mapping[str, int]) -> int:
  return sums["read"] + sums["written"]


def _sums(found: Sequence[Kernel]) -> dict[str, int]:
  return {
    "kernels": sum(k.times for k in found),
    "read": sum(k.times * k.traffic.read for k in found),
    "written": sum(k.times * k.traffic.written for k in found),
    "cycles": sum(k.times * k.cycles for k in found),
  }


def _by(
  found: Sequence[Kernel], key_of: Callable[[Kernel], dict[str, str]]
) -> list[dict[str, Any]]:
  groups: dict[tuple, list[Kernel]] = collections.defaultdict(list)
  for kernel in found:
    groups[tuple(key_of(kernel).items())].append(kernel)
  rows = [{**dict(key), **_sums(group)} for key, group in groups.items()]
  return sorted(rows, key=lambda row: -_bytes(row))


def _part(layer: Layer) -> str:
  """'depthwise', 'pointwise', 'convolution', 'dense' or 'norm'."""
  kind = layer.kind.partition(" ")[0]
  if kind == "conv":
    return "pointwise" if layer.window == (1, 1) else "convolution"
  return kind


def _layer(place: Place, known: Collection[str]) -> str:
  """The known layer of a place, which may be a scope within it."""
  path = place.layer
  while path:
    if path in known:
      return path
    path = path.rpartition("/")[0]
  return place.layer


def _unnamed_part(place: Place) -> str:
  """Of what has no layer: its Flax class, 'network', or the place itself."""
  unnamed = _UNNAMED.search(place.layer)
  if unnamed:
    return _UNNAMED_PARTS[unnamed[1]]
  if place.direction and place.layer != "loss":
    return "network"
  return place.layer


def _not_counted(
  found: Sequence[Kernel], loops: Sequence[kernels.Loop]
) -> list[str]:
  kinds = {kernel.kind for kernel in found}
  notes = [
    note
    for start, note in _UNKNOWN.items()
    if any(kind.startswith(start) for kind in kinds)
  ]
  endless = [loop.name for loop in loops if loop.trips is None]
  if endless:
    notes.append(
      f"all but one iteration of {len(endless)} loops whose number the program "
      f"does not say ({', '.join(endless[:3])})"
    )
  return notes
