"""Tests of saving, keeping and restoring checkpoints."""

import contextlib
import dataclasses
import pathlib

import flax.struct
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
from mn_jax.train.checkpoint_files import (
  DamagedCheckpointError,
  read_state,
)
from mn_jax.train.rules import Rules

# Orbax leaves the other reads running when one has failed; asyncio says so when
# they end, which can be during the next test.
pytestmark = [
  pytest.mark.devices(4),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def state_at(step: int, *, ema: bool = True) -> state_lib.TrainState:
  """A state of which every array depends on the step."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  variables = {
    # Large enough to be in files of their own.
    "params": {"head": {"kernel": draw(8, 512), "bias": draw(4)}},
    "batch_stats": {"norm": {"mean": draw(8), "weight": np.float32(0.5)}},
  }
  state = state_lib.create(variables, optax.adam(1e-3), Rules([".*"]), ema=ema)
  state = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), state)
  return mesh_lib.replicate(mesh_lib.make_mesh(), state)


def position_at(step: int, *, score=None, best=(0, None)):
  """A position with its own score, and the step and score of the best."""
  return checkpoint_lib.Position(
    batch=step,
    window={"loss": 0.1 * step, "steps": 2.0},
    score=score,
    best_score=best[1],
    best_step=best[0],
    worse=1,
    train={"loss": float("nan")},
    clock={"step": 1.5},
  )


def opened(workdir: pathlib.Path, **changes):
  """Opens the checkpoints of a workdir for a `with` block."""
  return contextlib.closing(
    checkpoint_lib.Checkpoints(workdir, CheckpointConfig(**changes))
  )


def restored_position(
  checkpoints: checkpoint_lib.Checkpoints,
) -> checkpoint_lib.Position:
  """That of the newest checkpoint, or of a new run."""
  restored = checkpoint_lib.restore_newest(checkpoints, state_at(0))
  return checkpoint_lib.Position() if restored is None else restored[1]


def save(workdir: pathlib.Path, *steps: int, scores=None, **changes) -> None:
  """Saves a checkpoint at each step, or at those of `scores`."""
  with opened(workdir, **changes) as checkpoints:
    before = restored_position(checkpoints)
    best = before.best_step, before.best_score
    for step, score in (scores or dict.fromkeys(steps)).items():
      if score is not None and (best[1] is None or score > best[1]):
        best = step, score
      position = position_at(step, score=score, best=best)
      checkpoints.save(state_at(step), position)
      # Orbax chooses what to delete while the next is saved.
      checkpoints.wait()


def steps_on_disk(workdir: pathlib.Path) -> set[int]:
  return {int(p.name) for p in (workdir / "checkpoints").iterdir()}


def truncate_file(path: pathlib.Path) -> None:
  """Cuts a file to half."""
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])


def truncate(folder: pathlib.Path) -> None:
  """Cuts every data file of a checkpoint to half."""
  paths = [p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"]
  assert paths
  for path in paths:
    truncate_file(path)


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(p.relative_to(folder)): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def _assert_restores(checkpoints: checkpoint_lib.Checkpoints, step: int):
  """The newest readable checkpoint is that of a step, to the bit."""
  state, position = checkpoint_lib.restore_newest(checkpoints, state_at(99))
  assert state_lib.sha256(state) == state_lib.sha256(state_at(step))
  assert jax.tree.structure(state) == jax.tree.structure(state_at(step))
  np.testing.assert_equal(
    dataclasses.asdict(position), dataclasses.asdict(position_at(step))
  )


@flax.struct.dataclass
class _EarlierState:
  """The fields that a state had before averages of BatchNorm's statistics."""

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  ema_params: dict


def test_a_state_of_fewer_fields_is_restored_where_the_new_ones_are_empty(
  tmp_path,
):
  names = [field.name for field in dataclasses.fields(_EarlierState)]
  with opened(tmp_path) as checkpoints:
    for step, ema in ((1, False), (2, True)):
      state = state_at(step, ema=ema)
      earlier = _EarlierState(**{name: getattr(state, name) for name in names})
      checkpoints.save(earlier, position_at(step))
      checkpoints.wait()
    restored, _ = read_state(checkpoints.path / "1", state_at(99, ema=False))
    expected = state_at(1, ema=False)
    assert state_lib.sha256(restored) == state_lib.sha256(expected)
    with pytest.raises(
      DamagedCheckpointError, match=r"no ema_batch_stats\.norm"
    ):
      read_state(checkpoints.path / "2", state_at(99))
  variables = checkpoint_lib.read_variables(tmp_path, 2)
  state = state_at(2)
  assert state_lib.sha256(variables) == state_lib.sha256(
    {"params": state.ema_params, "batch_stats": state.batch_stats}
  )


def test_restoring_returns_every_bit(tmp_path):
  with opened(tmp_path) as checkpoints:
    assert checkpoints.latest_step() is None
    assert checkpoint_lib.restore_newest(checkpoints, state_at(0)) is None
    state, position = state_at(3), position_at(3)
    checkpoints.save(state, position)
    # What is being saved may change: the train step donates the state.
    jax.tree.map(lambda x: x.delete(), state)
    position.batch, position.window["loss"] = 4, 9.0
    checkpoints.wait()
    _assert_restores(checkpoints, 3)
    without_ema = state_at(4, ema=False)
    checkpoints.save(without_ema, position_at(4))
    checkpoints.wait()
    state, _ = read_state(checkpoints.path / "4", state_at(99, ema=False))
    assert state_lib.sha256(state) == state_lib.sha256(without_ema)
    checkpoints.delete(4)
  with opened(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 3
    _assert_restores(checkpoints, 3)


def test_a_workdir_reached_by_its_parent_is_read_as_it_is_written(tmp_path):
  (tmp_path / "here").mkdir()
  workdir = tmp_path / "here" / ".." / "run"
  save(workdir, 2)
  with opened(workdir) as checkpoints:
    _assert_restores(checkpoints, 2)
  assert steps_on_disk(tmp_path / "run") == {2}


def test_a_workdir_of_any_other_name_is_read_as_it_is_written(tmp_path):
  for name in ("a b", "a%20b", "a#b", "é", "a:b", "a|b", "a'b", '"', "{a}"):
    save(tmp_path / name / "run", 1)
    with opened(tmp_path / name / "run") as checkpoints:
      _assert_restores(checkpoints, 1)


def test_restoring_onto_another_sharding(tmp_path):
  save(tmp_path, 2)
  mesh = mesh_lib.make_mesh()
  assert mesh.size == 4

  def spread(x):
    divisible = x.ndim > 0 and x.shape[0] % mesh.size == 0
    axes = P("data") if divisible else P()
    return jax.device_put(x, NamedSharding(mesh, axes))

  with opened(tmp_path) as checkpoints:
    state, _ = read_state(
      checkpoints.path / "2", jax.tree.map(spread, state_at(0))
    )
    kernel = state.params["head"]["kernel"]
    assert {s.data.shape for s in kernel.addressable_shards} == {(2, 512)}
    assert state_lib.sha256(state) == state_lib.sha256(state_at(2))
    second = jax.devices()[1]
    state, _ = read_state(
      checkpoints.path / "2", jax.device_put(state_at(0), second)
    )
    assert state.step.devices() == {second}
    assert state_lib.sha256(state) == state_lib.sha256(state_at(2))


@pytest.mark.parametrize(
  ("scores", "changes", "expected"),
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
def test_the_newest_and_the_best_are_kept(tmp_path, scores, changes, expected):
  save(tmp_path, scores=scores, **changes)
  assert steps_on_disk(tmp_path) == expected


def test_the_best_of_an_earlier_process_is_kept(tmp_path):
  save(tmp_path, scores={1: 0.9, 2: 0.1})
  save(tmp_path, scores={3: 0.2, 4: 0.3})
  assert steps_on_disk(tmp_path) == {1, 3, 4}


def test_saving_a_step_that_is_not_new_is_an_error(tmp_path):
  save(tmp_path, 2)
  with opened(tmp_path) as checkpoints:
    for step in (1, 2):
      with pytest.raises((RuntimeError, ValueError), match=str(step)):
        checkpoints.save(state_at(step), position_at(step))
  assert steps_on_disk(tmp_path) == {2}


def test_damaged_checkpoints_are_set_aside_for_the_one_before(tmp_path, caplog):
  save(tmp_path, 1)
  newest = tmp_path / "checkpoints" / "2"
  damages = {
    "2": truncate,
    "2.2": lambda path: (path / "position").rename(tmp_path / "position"),
    "2.3": lambda path: (path / "state").rename(tmp_path / "state"),
    "2.4": lambda path: path.rename(tmp_path / "2") and path.mkdir(),
  }
  for name, damage in damages.items():
    save(tmp_path, 2)
    damage(newest)
    damaged = _contents(newest)
    caplog.clear()
    with opened(tmp_path) as checkpoints:
      _assert_restores(checkpoints, 1)
    assert steps_on_disk(tmp_path) == {1}
    assert _contents(tmp_path / "checkpoints_damaged" / name) == damaged
    (warning,) = [x.message for x in caplog.records if "moved to" in x.message]
    assert "Checkpoint 2 is damaged and is moved to" in warning
    assert "\n" not in warning
  # The run resumes, and saves the same step again.
  with opened(tmp_path) as checkpoints:
    checkpoints.save(state_at(2), position_at(2))
    checkpoints.wait()
    _assert_restores(checkpoints, 2)


def test_all_checkpoints_damaged_is_left_to_the_user(tmp_path):
  save(tmp_path, 1, 2)
  for step in ("1", "2"):
    truncate(tmp_path / "checkpoints" / step)
  message = r"none of the checkpoints.* newest, 2"
  with (
    opened(tmp_path) as checkpoints,
    pytest.raises(InputError, match=message),
  ):
    checkpoint_lib.restore_newest(checkpoints, state_at(0))
  with pytest.raises(InputError, match=r"all checkpoints in .* are damaged"):
    checkpoint_lib.read_best(tmp_path)
  assert steps_on_disk(tmp_path) == {1, 2}


def test_an_unfinished_save_is_ignored(tmp_path):
  save(tmp_path, 1)
  (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
  with opened(tmp_path) as checkpoints:
    _assert_restores(checkpoints, 1)
