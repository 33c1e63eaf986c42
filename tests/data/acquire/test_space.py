import shutil
import types

import pytest

from mn_jax.data.acquire import space
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError


def test_every_source_says_what_it_needs():
  for name, spec in registry.DATASETS.items():
    for source in spec.sources():
      small, large = (
        space.needed(name, source, 3 * size**2) for size in (8, 16)
      )
      assert large - small == spec.images * 3 * (16**2 - 8**2), name
      # No data set comes in less than 500 bytes an image.
      assert small > spec.images * 500, name
      if source == "web":
        assert small == spec.web.size + spec.images * 8 * 8 * 3, name


def test_too_little_room_is_said(tmp_path, monkeypatch):
  disk = types.SimpleNamespace(free=2_000_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
  root = tmp_path / "new" / "root"
  space.check(root, 2_000_000_000)
  assert root.is_dir()
  with pytest.raises(InputError, match=r"with 2\.0 GB free; valid: .* 2\.1 GB"):
    space.check(root, 2_100_000_000)
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match=r"cache_dir: .* cannot be written"):
    space.check(tmp_path / "file" / "root", 1)
