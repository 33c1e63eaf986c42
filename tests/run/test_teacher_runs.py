"""Whole runs with a teacher: what they write, resume and refuse."""

import shutil

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.report import run_analysis, run_report
from mn_jax.report.inspection import Inspections
from mn_jax.run import reopen
from mn_jax.run import setup as setup_lib
from mn_jax.train import state as state_lib
from tests import toy_labels
from tests import toy_transfer as toy

# As in the tests of the predictor: Orbax's other reads end later.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)

# Compiled fast, and with another input than the teacher's.
STUDENT = {"model__name": "simple_cnn", "model__width": 0.05}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
  """The workdir of a finished run."""
  workdir = tmp_path_factory.mktemp("teachers") / "run"
  toy.run(toy.load(seed=3, train__steps=2), workdir)
  return workdir


def load(teacher, **fields):
  return toy.load(train__teacher=str(teacher), **{**STUDENT, **fields})


@pytest.fixture(scope="module")
def finished(teacher, tmp_path_factory):
  """(workdir, summary, what was printed) of its student."""
  workdir = tmp_path_factory.mktemp("runs") / "student"
  return workdir, *toy.run(load(teacher), workdir)


def refused(config, workdir) -> str:
  """The one line that a run ends with."""
  with pytest.raises(InputError) as error:
    toy.run(config, workdir)
  assert "\n" not in str(error.value)
  assert "; valid: " in str(error.value)
  return str(error.value)


def test_a_run_writes_down_its_teacher(finished, teacher):
  workdir, summary, printed = finished
  described = toy.read(workdir, "network.json")["teacher"]
  assert described == summary["teacher"]
  assert described["name"] == str(teacher)
  assert described["model"] == "mobilenet_v1"
  assert described["step"] == toy.read(teacher, "summary.json")["best_step"]
  of_teacher = toy.read(teacher, "summary.json")
  assert described["state_sha256"] == of_teacher["state_sha256"]
  accuracy = of_teacher["test/accuracy"]
  assert described["metrics"]["test/accuracy"] == accuracy
  (line,) = (x for x in printed.splitlines() if x.startswith("Teacher: "))
  # The last two parts of its path alone.
  assert (
    f"of {teacher.parent.name}/run (sha256 {described['sha256'][:16]}, "
    in (line)
  )
  assert f"test accuracy {accuracy:.3f}" in line
  assert "weight 0.9, temperature 4, split: the same" in line
  logged = [x for x in toy.logged(workdir) if "train/loss" in x]
  assert len(logged) == 3
  for entry in logged:
    assert 0 <= entry["train/teacher_agreement"] <= 1
    assert entry["train/teacher_loss"] > 0
  # Six updates are less than an epoch: the mean of all.
  mean = sum(x["train/teacher_loss"] for x in logged) / 3
  assert summary["train/teacher_loss"] == pytest.approx(mean, rel=1e-6)
  page = run_report.build(run_analysis.analyze(workdir), Inspections({}, {}))
  assert line.removeprefix("Teacher: ") in page.sections[0].text


def test_the_checkpoint_holds_the_student_alone(finished, teacher):
  alone = toy.build(toy.load(**STUDENT)).initial_state
  taught = toy.build(load(teacher)).initial_state
  assert state_lib.sha256(alone) == state_lib.sha256(taught)
  assert reopen.open_run(finished[0]).network.name == "simple_cnn"


def test_interrupted_and_resumed_equals_uninterrupted(
  finished, teacher, tmp_path
):
  """The teacher may move meanwhile, but not change, vanish or appear."""
  workdir, place = tmp_path / "run", tmp_path / "teacher"
  shutil.copytree(teacher, place)
  assert toy.run(load(place), workdir, stop_at=3)[0] is None
  moved = place.rename(tmp_path / "moved")
  assert f"got {str(place)!r}" in refused(load(place), workdir)
  other = shutil.copytree(moved, tmp_path / "other")
  before = toy.read(workdir, "network.json")["teacher"]["sha256"]
  with pytest.MonkeyPatch.context() as patch:
    # A teacher of other weights.
    real = reopen.open_run

    def changed(path, **options):
      run = real(path, **options)
      head = run.variables["params"]["head"]["logits"]
      head["bias"] = head["bias"] + np.float32(1)
      return run

    patch.setattr(reopen, "open_run", changed)
    message = refused(load(other), workdir)
  assert "train.teacher: got another teacher than " in message
  assert f", not {before[:16]}); valid: the same teacher" in message
  config = toy.load(**STUDENT)
  assert "train.teacher: " in refused(config, workdir)
  (workdir / "config.json").unlink()  # then the checkpoint says it
  assert "got none, but" in refused(config, workdir)

  summary, printed = toy.run(load(moved), workdir)
  assert "from step 3 of 6" in printed
  assert summary["state_sha256"] == finished[1]["state_sha256"]
  assert summary["test/loss"] == finished[1]["test/loss"]
  assert toy.logged(workdir) == toy.logged(finished[0])


def test_a_complete_run_takes_no_other_teacher(finished, teacher, tmp_path):
  workdir = shutil.copytree(finished[0], tmp_path / "run")
  summary, printed = toy.run(load(teacher), workdir)
  assert "nothing is left to do" in printed
  moved = shutil.copytree(teacher, tmp_path / "moved")
  again, _ = toy.run(load(moved), workdir)
  assert again["state_sha256"] == summary["state_sha256"]
  other = tmp_path / "other"
  toy.run(toy.load(seed=4, train__steps=2), other)
  assert "got another teacher than" in refused(load(other), workdir)
  assert "train.teacher" in refused(toy.load(**STUDENT), workdir)


def test_without_a_teacher_nothing_is_written_of_one(tmp_path):
  config = toy.load(train__steps=2, **STUDENT)
  summary, printed = toy.run(config, tmp_path / "run")
  assert summary["teacher"] is None
  assert "Teacher" not in printed
  names = set().union(*toy.logged(tmp_path / "run"))
  assert not {name for name in names if "teacher" in name}
  setup = toy.build(config)
  assert setup.digests()["teacher"] == ""


def test_seeds_share_a_teacher(finished, teacher, tmp_path):
  config = load(teacher, train__replicas=2)
  summaries, _ = toy.run_seeds(config, tmp_path / "runs")
  first = finished[1]
  assert summaries[0]["state_sha256"] == first["state_sha256"]
  assert summaries[1]["state_sha256"] != first["state_sha256"]
  assert summaries[1]["teacher"] == first["teacher"]


def test_several_steps_in_a_dispatch(finished, teacher, tmp_path):
  config = load(teacher, train__steps_per_dispatch=2)
  summary, _ = toy.run(config, tmp_path / "run")
  expected = finished[1]["train/loss"]
  assert summary["train/loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.devices(4)
@pytest.mark.extended
def test_four_devices_accumulation_and_mixing(teacher):
  fields = {"optim__accumulate": 2, "augment__mixup": 0.4, "train__steps": 3}
  state, sums = toy.steps(toy.build(load(teacher, **fields)), 3)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
  assert all(x["teacher_loss"] > 0 and x["count"] == 32 for x in sums)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.extended
def test_the_types_of_teacher_and_student_are_their_own(teacher, dtype):
  config = load(teacher, model__dtype=dtype, model__name="mobilenet_v1")
  setup = toy.build(config)
  assert setup.teacher.network.module.backbone.dtype == np.float32
  _, sums = toy.steps(setup, 2)
  assert np.isfinite(sums[-1]["loss"])


def test_a_frozen_backbone_sees_pixels(teacher, tmp_path):
  """Its features cannot be cached: the teacher needs the image."""
  toy.write_weights(tmp_path / "weights.h5", classes=5)
  config = toy.load(
    train__teacher=str(teacher),
    model__transfer="frozen",
    model__weights=str(tmp_path / "weights.h5"),
  )
  setup = toy.build(config)
  assert not setup.cached_features
  before = jax.device_get(setup.initial_state.params["backbone"])
  state, sums = toy.steps(setup, 2)
  jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], before)
  assert sums[1]["teacher_loss"] > 0


@pytest.mark.extended
def test_a_teacher_of_its_own_quantised_copy(teacher):
  """The float network, of which the student is the copy, rounded to 8 bits."""
  config = toy.load(
    train__teacher=str(teacher),
    model__transfer="fine_tune",
    model__weights=str(teacher),
    model__fake_quant="int8",
    optim__learning_rate=0.0,
  )
  _, sums = toy.steps(toy.build(config), 1)
  assert sums[0]["teacher_agreement"] >= 24  # of 32
  assert 0 < sums[0]["teacher_loss"] < 32


def test_a_teacher_counts_in_mfu(teacher, monkeypatch):
  monkeypatch.setattr(setup_lib.mesh_lib, "peak_flops", lambda: 1e12)
  alone, taught = toy.build(toy.load(**STUDENT)), toy.build(load(teacher))
  more = taught.mfu(100.0) - alone.mfu(100.0)
  assert more == pytest.approx(2 * taught.teacher.macs * 100 / 1e12)


@pytest.mark.extended
def test_several_labels_per_image(tmp_path):
  toy_labels.write(tmp_path / "images", patients=30)
  fields = {
    "data__name": "image_folder",
    "data__path": str(tmp_path / "images" / "columns.csv"),
    "data__label": toy_labels.NAMES,
    "data__group": "patient",
    "data__split": "grouped",
    "data__image_size": 24,
    "train__batch_size": 16,
    "train__steps": 4,
    **STUDENT,
  }
  toy.run(toy.load(**fields), tmp_path / "teacher")
  config = toy.load(train__teacher=str(tmp_path / "teacher"), **fields)
  _, sums = toy.steps(toy.build(config), 2)
  assert sums[0]["teacher_loss"] > 0
  assert 0 <= sums[0]["teacher_agreement"] <= sums[0]["count"]


@pytest.mark.parametrize(
  ("fields", "text"),
  [
    ({"train__teacher_weight": 0.5}, "teacher_weight: got 0.5 without"),
    ({"train__teacher_temperature": 2.0}, "got 2.0 without train.teacher;"),
    ({"train__teacher_model": "vgg16"}, "'vgg16' without train.teacher;"),
    ({"train__teacher_unchecked": True}, "got True without train.teacher;"),
    (
      {"train__teacher": "a", "train__teacher_width": 0.5},
      "got 0.5 without train.teacher_model;",
    ),
    (
      {"train__teacher": "a", "train__teacher_weight": 1.5},
      "train.teacher_weight: got 1.5; valid: 0 to 1",
    ),
    (
      {"train__teacher": "a", "train__teacher_temperature": 0.0},
      "train.teacher_temperature: got 0.0; valid: 0.1 to 100",
    ),
    ({"train__teacher": "gs://bucket/run"}, "train.teacher: got 'gs://"),
  ],
)
def test_settings_that_contradict_each_other(fields, text):
  with pytest.raises(InputError) as error:
    toy.load(**fields)
  assert text in str(error.value)
