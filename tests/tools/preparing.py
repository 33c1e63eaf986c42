"""What the tests of `prepare` look at after it."""

import json

from mn_jax.data import store


def manifest(root, name="idc"):
  return json.loads((root / f"{name}.json").read_text())


def load(root, name, size):
  """As training does."""
  return store.load(
    name,
    path="",
    root=root,
    image_size=size,
    other_sizes="resize",
    max_unreadable=0.01,
  )
