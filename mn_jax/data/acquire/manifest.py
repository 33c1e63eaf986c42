"""What is written down of a prepared data set: facts, no times and no people.

Two machines that prepare the same files write the same, but for the path.
"""

import importlib.metadata
import pathlib
from typing import Any

import numpy as np

import mn_jax
from mn_jax.data.cache import PackedCache
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.listing import PARTS
from mn_jax.data.packing import PackOptions


def describe(
  name: str,
  packed: PackedCache,
  *,
  source: dict[str, str],
  path: pathlib.Path,
  options: PackOptions,
) -> dict[str, Any]:
  """The manifest of a data set, of values that JSON keeps.

  Args:
    name: of the data set.
    packed: its images.
    source: 'kind' and what else names where it came from.
    path: folder or archive that was packed.
    options: how they are packed.

  Returns:
    Counts by class and by publisher's part ('none' is outside all of them),
    hashes, what was left out and why, and versions of what decoded it.
  """
  spec = registry.get(name)
  parts, _ = registry.published_parts(name, packed.groups, packed.parts)
  counted = np.bincount(packed.labels, minlength=len(packed.classes)).tolist()
  in_parts = {
    part or "none": int((parts == part).sum()) for part in (*PARTS, "")
  }
  return {
    "dataset": name,
    "source": source,
    "path": str(path.resolve()),
    "fingerprint": packed.fingerprint,
    "image_size": options.size,
    "other_sizes": options.other_sizes,
    "images": len(packed),
    "classes": dict(zip(packed.classes, counted, strict=True)),
    "parts": {part: count for part, count in in_parts.items() if count},
    "group": spec.group,
    "groups": len(np.unique(packed.groups)),
    "pixels_sha256": packed.sha256,
    "quarantine": [list(pair) for pair in packed.quarantine],
    "dropped": packed.dropped,
    "versions": {
      "mn_jax": mn_jax.__version__,
      **{
        name: importlib.metadata.version(name) for name in ("numpy", "pillow")
      },
    },
  }
