"""Tests of where several seeds resume from."""

import types

import pytest

from mn_jax.errors import InputError
from mn_jax.train import state as state_lib
from mn_jax.train.seeds import Seeds
from tests.train import test_checkpoint
from tests.train.test_checkpoint import _save, _state, _steps, _truncate

pytestmark = test_checkpoint.pytestmark


def _together(*workdirs):
  """The step that the seeds in some folders resume from; None to start anew."""

  def resume(state, position):
    assert state_lib.sha256(state) == state_lib.sha256(_state(position.batch))
    return position.batch

  runs = [
    types.SimpleNamespace(
      checkpoints=test_checkpoint._open(workdir),
      initial_state=_state(),
      begin=lambda: None,
      resume=resume,
    )
    for workdir in workdirs
  ]
  try:
    (step,) = set(Seeds(runs).start())
  finally:
    for run in runs:
      run.checkpoints.close()
  return step


def test_seeds_resume_from_the_newest_step_that_all_have(tmp_path):
  ahead, behind = tmp_path / "ahead", tmp_path / "behind"
  _save(ahead, {1: None, 2: None})
  behind.mkdir()
  assert _together(ahead / "none", behind) is None
  _save(behind, {1: None})
  assert _together(ahead, behind) == 1
  # What only one has is gone, or it could not be saved again.
  assert (_steps(ahead), _steps(behind)) == ({1}, {1})


def test_seeds_of_which_one_has_saved_start_anew(tmp_path):
  ahead, behind = tmp_path / "ahead", tmp_path / "behind"
  _save(ahead, {1: None})
  behind.mkdir()
  assert _together(ahead, behind) is None
  assert _steps(ahead) == set()


def test_a_damaged_step_of_one_seed_takes_all_back(tmp_path):
  one, other = tmp_path / "one", tmp_path / "other"
  for workdir in (one, other):
    _save(workdir, {1: None, 2: None})
  _truncate(other / "checkpoints" / "2")
  assert _together(one, other) == 1
  assert (_steps(one), _steps(other)) == ({1}, {1})
  assert not (one / "checkpoints_damaged").exists()
  assert (other / "checkpoints_damaged" / "2").is_dir()


@pytest.mark.parametrize("behind", [{}, {1: None}, {1: None, 2: None}])
def test_no_seed_loses_more_than_one_step(tmp_path, behind):
  _save(tmp_path / "ahead", {2: None, 3: None, 4: None, 5: None})
  before = _steps(tmp_path / "ahead")
  (tmp_path / "behind").mkdir()
  _save(tmp_path / "behind", behind)
  with pytest.raises(InputError, match=r"ahead/checkpoints' is at step 5, and"):
    _together(tmp_path / "ahead", tmp_path / "behind")
  assert _steps(tmp_path / "ahead") == before
