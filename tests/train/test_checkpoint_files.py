"""Tests of damaged checkpoints, and of what is no damage."""

import collections
import dataclasses
import errno
import json
import logging
import random
import shutil

import numpy as np
import pytest
from absl import logging as absl_logging

from mn_jax.errors import RunError
from mn_jax.train import checkpoint as checkpoint_lib
from mn_jax.train import checkpoint_files as files
from mn_jax.train import state as state_lib
from mn_jax.train.checkpoint_files import DamagedCheckpointError
from tests.train.test_checkpoint import (
  opened,
  save,
  state_at,
  steps_on_disk,
  truncate,
  truncate_file,
)

pytestmark = pytest.mark.devices(4)


def test_damage_is_never_silent(tmp_path):
  """Bits and whole files: what is read is what was saved, or is refused."""
  save(tmp_path, 7)
  folder = tmp_path / "checkpoints" / "7"
  like, expected = state_at(0), state_at(7)
  digests = {
    state_lib.sha256(expected),
    state_lib.sha256(state_lib.eval_variables(expected)),
  }
  rng = random.Random(0)

  def flip(path):
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)

  damages = (
    *[flip] * 4,
    truncate_file,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\xff\xfe{"),
    lambda path: path.write_text(rng.choice(("[]", "null", '"batch"', "{}"))),
    lambda path: path.unlink(),
    lambda path: path.unlink() or path.mkdir(),
  )
  found = collections.Counter()
  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    original = path.read_bytes()
    for damage in damages:
      damage(path)
      for read in (
        lambda: files.read_state(folder, like)[0],
        lambda: files.read_variables(folder),
      ):
        try:
          digest = state_lib.sha256(read())
        except DamagedCheckpointError:
          found[path.parent.name] += 1
        else:
          assert digest in digests
      if path.is_dir():
        path.rmdir()
      path.write_bytes(original)
  # Files that nothing is read from may be damaged.
  assert found["position"] == 2 * len(damages)
  assert found["d"] > len(damages)


def test_files_of_another_step_are_damage(tmp_path):
  """Also all of them, which agree with each other."""
  save(tmp_path, 1, 2)
  one, two = (tmp_path / "checkpoints" / name for name in "12")
  for path in ("position/metadata", "state", ""):
    shutil.rmtree(tmp_path / "swapped", ignore_errors=True)
    shutil.copytree(two, tmp_path / "swapped" / "2")
    folder = tmp_path / "swapped" / "2"
    if path == "position/metadata":
      shutil.copy(one / path, folder / path)
    else:
      shutil.rmtree(folder / path)
      shutil.copytree(one / path, folder / path)
    for read in (
      lambda folder=folder: files.read_state(folder, state_at(0)),
      lambda folder=folder: files.read_variables(folder),
    ):
      with pytest.raises(DamagedCheckpointError):
        read()


def test_what_the_machine_does_not_let_be_read_is_no_damage(
  tmp_path, monkeypatch
):
  save(tmp_path, 1, 2)
  cause = ValueError("no arrays")
  cause.__cause__ = OSError(errno.ESTALE, "Stale file handle")
  for error in (
    MemoryError(),
    OSError(errno.EACCES, "Permission denied"),
    ValueError("UNKNOWN: Input/output error [os_error_code='5']"),
    ValueError("NOT_FOUND: No such device [os_error_code='19']"),
    ValueError("PERMISSION_DENIED: Failed to open"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
    cause,
    ExceptionGroup("several", [OSError(errno.EIO, "Input/output error")]),
    KeyboardInterrupt(),
  ):

    def fail(*args, error=error, **kwargs):
      raise error

    raised = KeyboardInterrupt
    if isinstance(error, Exception):
      raised = RunError
    with monkeypatch.context() as patch, opened(tmp_path) as checkpoints:
      patch.setattr(files.tensorstore, "open", fail)
      with pytest.raises(raised) as caught:
        checkpoint_lib.restore_newest(checkpoints, state_at(0))
      assert "\n" not in str(caught.value)
      with pytest.raises(raised):
        checkpoint_lib.read_best(tmp_path)
    assert steps_on_disk(tmp_path) == {1, 2}
  # A mount that goes away takes all files with it.
  with opened(tmp_path) as checkpoints:
    steps = checkpoints.steps()
    (tmp_path / "checkpoints").rename(tmp_path / "away")
    monkeypatch.setattr(checkpoints, "steps", lambda: steps)
    with pytest.raises(RunError, match="could not be read and is left as it"):
      checkpoint_lib.restore_newest(checkpoints, state_at(0))
  assert not (tmp_path / "checkpoints_damaged").exists()


def test_the_next_best_takes_the_place_of_a_damaged_best(tmp_path, caplog):
  scores = {1: 0.3, 2: 0.5, 3: 0.4, 4: 0.4, 5: None}
  save(tmp_path, scores=scores, keep_latest=5)
  path = tmp_path / "checkpoints"
  truncate(path / "2")
  # Whoever reads a run leaves it as it is.
  step, variables = checkpoint_lib.read_best(tmp_path)
  expected = state_lib.sha256(state_lib.eval_variables(state_at(3)))
  assert (step, state_lib.sha256(variables)) == (3, expected)
  assert "Checkpoint 2 is damaged, and the next best is used" in caplog.text
  assert steps_on_disk(tmp_path) == {*scores}
  with opened(tmp_path) as checkpoints:
    _, position = checkpoint_lib.restore_newest(checkpoints, state_at(0))
    best = checkpoints.restore_best(position)
    assert state_lib.sha256(best) == expected
    # Of equals the first is the best.
    assert (position.best_step, position.best_score) == (3, 0.4)
    lost = {"step": 2, "score": 0.5}
    assert position.lost_best == lost
    assert "step 3 (score 0.4) takes its place" in caplog.text
    assert (tmp_path / "checkpoints_damaged" / "2").is_dir()
    # Nothing changes while the best is intact.
    before = dataclasses.replace(position)
    assert checkpoints.restore_best(position) is not None
    np.testing.assert_equal(position, before)
    # Without another that was validated, the newest is.
    for step in (1, 3, 4):
      truncate(path / str(step))
    assert checkpoints.restore_best(position) is None
    assert (position.best_step, position.best_score) == (0, None)
    assert position.lost_best == lost
  assert steps_on_disk(tmp_path) == {5}


def test_checkpoints_of_versions_without_digests(tmp_path, caplog):
  """They are restored, with a warning."""
  save(tmp_path, scores={2: 0.5})
  path = tmp_path / "checkpoints" / "2" / "position" / "metadata"
  content = json.loads(path.read_text())["position"]
  del content["score"], content["lost_best"], content["logged"]
  path.write_text(json.dumps(content))
  # What those versions had besides, damaged.
  (path.parents[1] / "metrics").mkdir()
  (path.parents[1] / "metrics" / "metrics").write_text("{")
  with opened(tmp_path) as checkpoints:
    state, position = checkpoint_lib.restore_newest(checkpoints, state_at(0))
  assert "without digests" in caplog.text
  assert state_lib.sha256(state) == state_lib.sha256(state_at(2))
  assert (position.score, position.best_step) == (0.5, 2)


def test_only_one_message_of_orbax_is_hidden():
  for message, shown in (
    ("Waiting for previous save to complete took %f seconds.", False),
    ("Checkpointer failed: one or more items may not be finalized.", True),
  ):
    record = logging.LogRecord(
      "absl", logging.WARNING, "checkpoint_manager.py", 1, message, (), None
    )
    assert bool(absl_logging.get_absl_logger().filter(record)) == shown
