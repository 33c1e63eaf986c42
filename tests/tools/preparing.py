"""What the tests of `prepare` look at after it."""

import json

from mn_jax.data import store
from mn_jax.data.packing import PackOptions


def manifest(root, name="idc"):
  return json.loads((root / f"{name}.json").read_text())


def load(root, name, size):
  """As training does."""
  return store.load(
    name,
    path="",
    root=root,
    options=PackOptions(size, max_unreadable=0.01),
  )
