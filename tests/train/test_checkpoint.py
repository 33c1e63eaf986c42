"""Tests of saving, keeping and restoring checkpoints."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mn_jax.config.experiment import CheckpointConfig
from mn_jax.errors import InputError
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import checkpoint as checkpoint_lib
from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules

# Orbax leaves the other reads running when one has failed; asyncio says so when
# they end, which can be during the next test.
pytestmark = [
  pytest.mark.devices(4),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def _state(step: int = 0, *, ema: bool = True) -> state_lib.TrainState:
  """A state of which every array depends on the step."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  variables = {
    "params": {"head": {"kernel": draw(8, 4), "bias": draw(4)}},
    "batch_stats": {"norm": {"mean": draw(8), "weight": np.float32(0.5)}},
  }
  state = state_lib.create(variables, optax.adam(1e-3), Rules([".*"]), ema=ema)
  state = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), state)
  return mesh_lib.replicate(mesh_lib.make_mesh(), state)


def _position(step: int) -> checkpoint_lib.Position:
  return checkpoint_lib.Position(
    batch=step,
    window={"loss": 0.1 * step, "steps": 2.0},
    best_score=1 / 3,
    best_step=step,
    worse=1,
    train={"loss": float("nan")},
    clock={"step": 1.5},
  )


def _open(workdir: pathlib.Path, **changes) -> checkpoint_lib.Checkpoints:
  return checkpoint_lib.Checkpoints(workdir, CheckpointConfig(**changes))


def _save(
  workdir: pathlib.Path, scores: dict[int, float | None], **changes
) -> None:
  """Saves one checkpoint per step, in a process of its own so to say."""
  checkpoints = _open(workdir, **changes)
  for step, score in scores.items():
    checkpoints.save(_state(step), _position(step), score=score)
    # Orbax chooses what to delete while the next is saved.
    checkpoints.wait()
  checkpoints.close()


def _latest(checkpoints, like):
  """The state and position a run resumes from; None without a checkpoint."""
  return checkpoint_lib.restore_newest(checkpoints, like)


def _steps(workdir: pathlib.Path) -> set[int]:
  return {int(p.name) for p in (workdir / "checkpoints").iterdir()}


def _files(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(p.relative_to(folder)): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def _truncate(folder: pathlib.Path) -> None:
  """Cuts every data file of a checkpoint to half."""
  files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"]
  assert files
  for path in files:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_restore_gives_every_bit_back(tmp_path):
  _save(tmp_path, {3: 0.5})
  checkpoints = _open(tmp_path)
  assert checkpoints.latest_step() == 3
  state, position = _latest(checkpoints, _state(99))
  assert state_lib.sha256(state) == state_lib.sha256(_state(3))
  assert jax.tree.structure(state) == jax.tree.structure(_state(3))
  np.testing.assert_equal(
    dataclasses.asdict(position), dataclasses.asdict(_position(3))
  )
  checkpoints.close()


def test_restore_without_an_average(tmp_path):
  checkpoints = _open(tmp_path)
  checkpoints.save(_state(1, ema=False), _position(1), score=None)
  checkpoints.wait()
  state, _ = _latest(checkpoints, _state(99, ema=False))
  assert state_lib.sha256(state) == state_lib.sha256(_state(1, ema=False))
  checkpoints.close()


def test_nothing_to_restore(tmp_path):
  checkpoints = _open(tmp_path)
  assert checkpoints.latest_step() is None
  assert _latest(checkpoints, _state()) is None
  checkpoints.close()


def test_the_state_may_change_while_it_is_saved(tmp_path):
  """The train step donates the buffers of the state that is being written."""
  checkpoints = _open(tmp_path)
  state = _state(1)
  expected = state_lib.sha256(state)
  checkpoints.save(state, _position(1), score=None)
  jax.tree.map(lambda x: x.delete(), state)
  checkpoints.wait()
  restored, _ = _latest(checkpoints, _state())
  assert state_lib.sha256(restored) == expected
  checkpoints.close()


def test_a_position_that_goes_on_is_not_saved_with_it(tmp_path):
  checkpoints = _open(tmp_path)
  position = _position(1)
  checkpoints.save(_state(1), position, score=None)
  position.batch, position.window["loss"] = 2, 9.0
  checkpoints.wait()
  _, restored = _latest(checkpoints, _state())
  assert (restored.batch, restored.window["loss"]) == (1, 0.1)
  checkpoints.close()


def test_restore_onto_another_sharding(tmp_path):
  _save(tmp_path, {2: None})
  mesh = mesh_lib.make_mesh()
  assert mesh.size == 4

  def spread(x):
    divisible = x.ndim > 0 and x.shape[0] % mesh.size == 0
    axes = P("data") if divisible else P()
    return jax.device_put(x, NamedSharding(mesh, axes))

  like = jax.tree.map(spread, _state())
  checkpoints = _open(tmp_path)
  state, _ = _latest(checkpoints, like)
  kernel = state.params["head"]["kernel"]
  assert {s.data.shape for s in kernel.addressable_shards} == {(2, 4)}
  assert state_lib.sha256(state) == state_lib.sha256(_state(2))
  one = jax.tree.map(lambda x: jax.device_put(x, jax.devices()[1]), _state())
  state, _ = checkpoints.restore(2, one)
  assert state.step.devices() == {jax.devices()[1]}
  assert state_lib.sha256(state) == state_lib.sha256(_state(2))
  checkpoints.close()


@pytest.mark.parametrize(
  ("scores", "changes", "kept"),
  [
    ({1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3}, {}, {2, 3, 4}),
    ({1: 0.9, 2: 0.1, 3: 0.2, 4: 0.3, 5: 0.4}, {}, {1, 4, 5}),
    ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, {"keep_latest": 1}, {4}),
    # Of equals the first is the best.
    ({1: 0.1, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.5}, {"keep_latest": 1}, {2, 5}),
    # Not validated, or undefined: kept while among the newest.
    ({1: 0.5, 2: None, 3: None, 4: None}, {}, {1, 3, 4}),
    ({1: None, 2: -0.7, 3: None, 4: None, 5: None}, {}, {2, 4, 5}),
  ],
)
def test_newest_and_best_are_kept(tmp_path, scores, changes, kept):
  _save(tmp_path, scores, **changes)
  assert _steps(tmp_path) == kept


def test_the_best_of_an_earlier_process_is_kept(tmp_path):
  _save(tmp_path, {1: 0.9, 2: 0.1})
  _save(tmp_path, {3: 0.2, 4: 0.3})
  assert _steps(tmp_path) == {1, 3, 4}


@pytest.mark.parametrize("step", [1, 2])
def test_a_step_that_is_not_new_is_an_error(tmp_path, step):
  _save(tmp_path, {2: None})
  checkpoints = _open(tmp_path)
  with pytest.raises((RuntimeError, ValueError), match=str(step)):
    checkpoints.save(_state(step), _position(step), score=None)
  checkpoints.close()
  assert _steps(tmp_path) == {2}


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path, caplog):
  _save(tmp_path, {1: None, 2: None})
  newest = tmp_path / "checkpoints" / "2"
  _truncate(newest)
  damaged = _files(newest)
  checkpoints = _open(tmp_path)
  state, position = _latest(checkpoints, _state())
  assert position.batch == 1
  assert state_lib.sha256(state) == state_lib.sha256(_state(1))
  assert _steps(tmp_path) == {1}
  assert _files(tmp_path / "checkpoints_damaged" / "2") == damaged
  (warning,) = [r for r in caplog.records if r.name == "absl"]
  assert "Checkpoint 2 cannot be read and is moved to" in warning.message
  assert "\n" not in warning.message
  # The run goes on, and saves the same step again.
  checkpoints.save(_state(2), _position(2), score=None)
  checkpoints.wait()
  _, position = _latest(checkpoints, _state())
  assert position.batch == 2
  checkpoints.close()


def test_a_step_damaged_twice_is_set_aside_twice(tmp_path):
  _save(tmp_path, {1: None})
  for _ in range(2):
    _save(tmp_path, {2: None})
    _truncate(tmp_path / "checkpoints" / "2")
    checkpoints = _open(tmp_path)
    _, position = _latest(checkpoints, _state())
    assert position.batch == 1
    checkpoints.close()
  assert {p.name for p in (tmp_path / "checkpoints_damaged").iterdir()} == {
    "2",
    "2.2",
  }


def test_junk_with_a_number_for_a_name_is_set_aside(tmp_path):
  _save(tmp_path, {1: None})
  (tmp_path / "checkpoints" / "999").mkdir()
  checkpoints = _open(tmp_path)
  _, position = _latest(checkpoints, _state())
  assert position.batch == 1
  assert (tmp_path / "checkpoints_damaged" / "999").is_dir()
  checkpoints.save(_state(2), _position(2), score=0.5)
  checkpoints.close()
  assert _steps(tmp_path) == {1, 2}


@pytest.mark.parametrize("part", ["position", "state"])
def test_a_checkpoint_without_a_part_is_damaged(tmp_path, part):
  _save(tmp_path, {1: None, 2: None})
  folder = tmp_path / "checkpoints" / "2" / part
  folder.rename(tmp_path / "elsewhere")
  checkpoints = _open(tmp_path)
  _, position = _latest(checkpoints, _state())
  assert position.batch == 1
  checkpoints.close()


def test_every_checkpoint_damaged_is_for_the_user_to_decide(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.4})
  for step in (1, 2):
    _truncate(tmp_path / "checkpoints" / str(step))
  checkpoints = _open(tmp_path)
  with pytest.raises(InputError, match=r"none of the checkpoints.* newest, 2"):
    _latest(checkpoints, _state())
  checkpoints.close()
  assert _steps(tmp_path) == {1, 2}


def test_a_damaged_best_checkpoint_is_named(tmp_path):
  _save(tmp_path, {1: 0.5, 2: 0.4})
  _truncate(tmp_path / "checkpoints" / "1")
  checkpoints = _open(tmp_path)
  with pytest.raises(InputError, match=r"best checkpoint, '\S+/1', cannot"):
    checkpoints.restore_best(1, _state())
  checkpoints.close()


def test_an_unfinished_save_is_no_checkpoint(tmp_path):
  _save(tmp_path, {1: None})
  folder = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  folder.mkdir()
  checkpoints = _open(tmp_path)
  _, position = _latest(checkpoints, _state())
  assert position.batch == 1
  checkpoints.close()
