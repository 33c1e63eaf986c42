"""The manifest of a prepared data set, `NAME.json` in the folder of downloads.

It holds counts, hashes, versions and the path of the source, no times and no
people: two machines that prepare the same files write the same but for the
path and what tells whether the source changed since.
"""

import importlib.metadata
import json
import pathlib
from typing import Any

import numpy as np

import mn_jax
from mn_jax.data import atomic, classes
from mn_jax.data.cache import PackedCache
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.listing import PARTS
from mn_jax.data.packing import PackOptions

_SCHEMA = 1


def write(name: str, root: pathlib.Path, manifest: dict[str, Any]) -> None:
  """Writes the manifest by which training finds a data set without a path.

  Args:
    name: of the data set.
    root: the folder of downloads and packed images.
    manifest: has at least 'path', what it was packed from, 'fingerprint', and
      'source_stamp', without which the source is listed again.
  """
  atomic.write_json(root / f"{name}.json", {"schema": _SCHEMA, **manifest})


def read(name: str, root: pathlib.Path) -> dict[str, Any] | None:
  """Reads the manifest of a data set; None if missing or damaged."""
  try:
    manifest = json.loads((root / f"{name}.json").read_bytes())
    valid = manifest["schema"] == _SCHEMA and all(
      isinstance(manifest[key], str) for key in ("path", "fingerprint")
    )
  except (OSError, ValueError, KeyError, TypeError):
    return None
  return manifest if valid else None


def describe(
  name: str,
  packed: PackedCache,
  *,
  source: dict[str, str],
  path: pathlib.Path,
  source_stamp: str,
  options: PackOptions,
) -> dict[str, Any]:
  """Returns the manifest of a data set, of values that JSON can hold.

  Args:
    name: of the data set.
    packed: its images.
    source: 'kind' and what else names where it came from.
    path: folder or archive that was packed.
    source_stamp: `archive.stamp` of it before it was listed.
    options: how they are packed.

  Returns:
    Counts by class and by publisher's part ('none' is outside all of them),
    hashes, what was left out and why, and versions of what decoded it.
  """
  spec = registry.get(name)
  parts, _ = registry.published_parts(name, packed.groups, packed.parts)
  counted = classes.count(packed.labels, len(packed.classes)).tolist()
  in_parts = {
    part or "none": int((parts == part).sum()) for part in (*PARTS, "")
  }
  return {
    "dataset": name,
    "source": source,
    "path": str(path.resolve()),
    "source_stamp": source_stamp,
    "fingerprint": packed.fingerprint,
    "image_size": options.size,
    "other_sizes": options.other_sizes,
    "crop_share": options.crop_share,
    "short_side": options.short_side,
    "bits": options.bits,
    "images": len(packed),
    "classes": dict(zip(packed.classes, counted, strict=True)),
    "parts": {part: count for part, count in in_parts.items() if count},
    "group": spec.group,
    "groups": len(np.unique(packed.groups)),
    "pixels_sha256": packed.sha256,
    "quarantine": [list(pair) for pair in packed.quarantine],
    "dropped": packed.dropped,
    "left_out": [list(kind) for kind in packed.left_out],
    "notes": list(packed.notes),
    "versions": {
      "mn_jax": mn_jax.__version__,
      **{
        name: importlib.metadata.version(name) for name in ("numpy", "pillow")
      },
    },
  }
