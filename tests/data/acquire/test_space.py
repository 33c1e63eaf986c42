import shutil
import types

import pytest

from mn_jax.data.acquire import space
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError

WAYS = [
  (name, way)
  for name, spec in registry.DATASETS.items()
  for way in spec.sources()
]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_every_way_says_what_it_needs(name, way):
  spec = registry.get(name)
  small, large = (space.needed(name, way, size) for size in (8, 16))
  assert large - small == spec.images * 3 * (16**2 - 8**2)
  # No data set comes in less than 500 bytes an image.
  assert small > spec.images * 500
  if way == "web":
    assert small == spec.web.size + spec.images * 8 * 8 * 3


def test_too_little_room_is_said(tmp_path, monkeypatch):
  disk = types.SimpleNamespace(free=2_000_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
  root = tmp_path / "new" / "root"
  space.check(root, 2_000_000_000)
  assert root.is_dir()
  with pytest.raises(InputError, match=r"with 2\.0 GB free; valid: .* 2\.1 GB"):
    space.check(root, 2_100_000_000)


def test_a_place_that_cannot_be_made_is_said(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(
    InputError, match=r"data\.cache_dir: .* cannot be written"
  ):
    space.check(tmp_path / "file" / "root", 1)
