"""Tests of where several seeds resume from."""

import contextlib
import types

import pytest

from mn_jax.errors import InputError
from mn_jax.train import state as state_lib
from mn_jax.train.seeds import Seeds
from tests.train import test_checkpoint
from tests.train.test_checkpoint import save, state_at, steps_on_disk, truncate

pytestmark = test_checkpoint.pytestmark


@pytest.fixture
def folders(tmp_path):
  """The workdirs of two seeds."""
  folders = tmp_path / "one", tmp_path / "other"
  for folder in folders:
    folder.mkdir()
  return folders


def _start(*workdirs):
  """The step that the seeds in some folders resume from; None to start anew."""

  def resume(state, position):
    assert state_lib.sha256(state) == state_lib.sha256(state_at(position.batch))
    return position.batch

  with contextlib.ExitStack() as stack:
    runs = [
      types.SimpleNamespace(
        checkpoints=stack.enter_context(test_checkpoint.opened(workdir)),
        initial_state=state_at(0),
        begin=lambda: None,
        resume=resume,
      )
      for workdir in workdirs
    ]
    (step,) = set(Seeds(runs).start())
  return step


def test_seeds_resume_from_the_newest_step_that_all_have(folders):
  one, other = folders
  assert _start(one, other) is None
  save(one, 1)
  assert _start(one, other) is None
  # What only one has is gone, or it could not be saved again.
  assert steps_on_disk(one) == set()
  save(one, 1, 2)
  save(other, 1)
  assert _start(one, other) == 1
  assert (steps_on_disk(one), steps_on_disk(other)) == ({1}, {1})


def test_a_damaged_step_of_one_seed_takes_all_back(folders):
  one, other = folders
  for workdir in folders:
    save(workdir, 1, 2)
  truncate(other / "checkpoints" / "2")
  assert _start(one, other) == 1
  assert (steps_on_disk(one), steps_on_disk(other)) == ({1}, {1})
  assert not (one / "checkpoints_damaged").exists()
  assert (other / "checkpoints_damaged" / "2").is_dir()


def test_no_seed_loses_more_than_one_step(folders):
  ahead, behind = folders
  save(ahead, 2, 3, 4, 5)
  before = steps_on_disk(ahead)
  for step in (None, 1, 2):
    if step is not None:
      save(behind, step)
    with pytest.raises(InputError, match=r"one/checkpoints' is at step 5, and"):
      _start(ahead, behind)
    assert steps_on_disk(ahead) == before
