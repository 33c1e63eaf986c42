"""Compiled programs are kept, where they can be."""

import jax
import pytest

from mn_jax.parallel import compile_cache
from mn_jax.tools import predict


@pytest.fixture
def programs():
  """Where compiled programs are kept: nowhere, as in a new process."""
  name = "jax_compilation_cache_dir"
  before = getattr(jax.config, name)
  jax.config.update(name, None)
  yield lambda: getattr(jax.config, name)
  jax.config.update(name, before)


def test_programs_are_kept_beside_packed_images(
  programs, tmp_path, monkeypatch
):
  compile_cache.keep(str(tmp_path / "cache"))
  assert programs() == str(tmp_path / "cache" / "compiled")
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path))
  assert predict.main([str(tmp_path), f"--workdir={tmp_path}"]) == 2
  assert programs() == str(tmp_path / "compiled")


def test_programs_are_not_kept_where_they_cannot_be(programs, tmp_path):
  (tmp_path / "cache").write_text("")
  compile_cache.keep(str(tmp_path / "cache"))
  assert programs() is None
