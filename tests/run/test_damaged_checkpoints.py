"""Runs whose checkpoints are damaged while they are stopped."""

import pytest

from mn_jax.run.run import Run
from tests import toy_transfer as toy

_CONFIG = toy.load(model__name="simple_cnn")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """The summary of a run that nothing happens to."""
  return toy.run(_CONFIG, tmp_path_factory.mktemp("run"))[0]


@pytest.mark.parametrize("better", [False, True])
def test_a_damaged_best_checkpoint_is_found_at_resume(
  uninterrupted, tmp_path, caplog, monkeypatch, better
):
  """The next best is used and said, until another is better than the lost."""
  scores = iter((0.5, 0.6 if better else 0.4))
  monkeypatch.setattr(Run, "_score", lambda self, metrics: next(scores))
  assert toy.run(_CONFIG, tmp_path, stop_at=5)[0] is None
  for step in (3, 5):  # the best and the newest
    path = tmp_path / f"checkpoints/{step}/position/metadata"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
  summary, printed = toy.run(_CONFIG, tmp_path)
  damaged = {p.name for p in (tmp_path / "checkpoints_damaged").iterdir()}
  assert damaged == {"3", "5"}
  assert "best checkpoint was step 3 (score 0.5); it is lost" in caplog.text
  assert summary["state_sha256"] == uninterrupted["state_sha256"]
  assert summary["best_step"] == 6
  lost = "the best checkpoint, step 3 (score 0.5), was damaged: step 6"
  assert (lost in printed) == (not better)
  expected = None if better else {"step": 3, "score": 0.5}
  assert summary["lost_best"] == expected
