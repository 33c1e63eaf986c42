"""Tests of studies and of the runs that they consist of."""

import dataclasses
import json
import pathlib
import re
import shutil

import pytest

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.run import setup, training, workdir
from mn_jax.studies import evidence, expansion, runner, study
from mn_jax.studies.study import Member, Study
from mn_jax.weights import manifest
from tests import toy_summary

ROOT = pathlib.Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.py"))

MEMBERS = (
  Member("a", "idc_v1", {"model.width": 0.5}, published={"test/f1": 0.5}),
  Member("b", "idc_v2:fine_tune", weights="mobilenet_v2_1.0_224"),
)
TOY = Study(
  title="A toy",
  source="nobody",
  members=MEMBERS,
  sample={"data.name": "idc_sample", "train.epochs": 1.0},
  metrics=("accuracy", "auroc"),
  pairs=(("b", "a"),),
)


def expand(made=TOY, **options) -> list[study.StudyRun]:
  values = {
    "folder": pathlib.Path("runs"),
    "seeds": 2,
    "sample": True,
    "weights": pathlib.Path("nowhere"),
    "only": [member.name for member in made.members],
    **options,
  }
  return expansion.expand(made, **values)


def config_of(run: study.StudyRun):
  """The config that a run's arguments make."""
  name, *changes = run.arguments
  return files.load_config(name.removeprefix("--config="), changes)


def untaught(config):
  """A config without its teacher, which is another run of the study."""
  return dataclasses.replace(
    config,
    train=dataclasses.replace(config.train, teacher=""),
  )


def finish(
  run: study.StudyRun,
  accuracy: float | None,
  auroc: float | None,
  chosen_on: str = "val",
) -> None:
  """Leaves the summary of a complete run."""
  run.workdir.mkdir(parents=True)
  summary = {
    **toy_summary.FIELDS,
    "test/accuracy": accuracy,
    "test/auroc": auroc,
    "chosen_on": chosen_on,
  }
  (run.workdir / "summary.json").write_text(json.dumps(summary))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("sample", [True, False])
def test_every_run_of_every_study_is_valid(path, sample, tmp_path):
  made = files.load(str(path), "get_study", study.Study)
  for member in made.members:
    if member.weights:
      known = manifest.load().get(member.weights)
      file = tmp_path / (known.top.name if known else member.weights)
      file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(8))
  runs = expand(made, sample=sample, weights=tmp_path)
  wanted = sum(
    1 if member.ensemble and not made.splits_anew else min(2, member.seeds or 2)
    for member in made.members
  )
  assert len({run.workdir for run in runs}) == wanted
  places = {run.workdir for run in runs}
  assert all(place in places for run in runs for place in run.parts)
  runs = [run for run in runs if not run.parts]
  text = path.read_text()
  assert f"python -m mn_jax.tools.study configs/studies/{path.name}" in text
  assert re.match(r'"""[A-Z].*[.]\n', text)
  settings = set()
  for run in runs:
    config = config_of(run)
    assert config.seed == run.seed
    assert config.data.name.endswith("_sample") == sample
    assert bool(config.model.weights) == (bool(run.member.weights) > sample)
    setup.check(untaught(config))
    settings.add(config)
  if not sample:
    assert len(settings) == len(runs)  # no two rows are the same


def test_runs_are_ordered_by_seed():
  runs = expand()
  titles = [run.title() for run in runs]
  assert titles == ["a seed 0", "b seed 0", "a seed 1", "b seed 1"]
  assert runs[3].workdir == pathlib.Path("runs/b/seed1")
  assert runs[0].arguments == (
    "--config=idc_v1",
    "model.width=0.5",
    "seed=0",
    "data.name=idc_sample",
    "train.epochs=1.0",
  )
  # Overrides come last, and members can be selected.
  runs = expand(only=["a"], overrides=["train.epochs=3.0"])
  assert {run.member.name for run in runs} == {"a"}
  assert runs[0].arguments[-1] == "train.epochs=3.0"


def test_folders_of_another_config_are_refused(tmp_path):
  """A row that was trained otherwise is not taken for one of these."""
  (run,) = expand(folder=tmp_path, seeds=1, only=["a"])
  expansion.check_folders([run])
  finish(run, 0.5, 0.5)
  folder = workdir.Workdir(run.workdir, first_process=False)
  folder.write_config(config_of(run), step=0)
  expansion.check_folders([run])
  longer = expand(
    folder=tmp_path, seeds=1, only=["a"], overrides=["train.epochs=3.0"]
  )
  with pytest.raises(InputError, match=r"epochs: 1\.0 there, 3\.0 now"):
    expansion.check_folders(longer)
  # One that has not ended may be resumed with more patience.
  changed = ["train.patience=3"]
  patient = expand(folder=tmp_path, seeds=1, only=["a"], overrides=changed)
  with pytest.raises(InputError, match="patience: 0 there, 3 now"):
    expansion.check_folders(patient)
  (run.workdir / "summary.json").unlink()
  expansion.check_folders(patient)


def test_seeds_are_grouped_into_few_programs(tmp_path):
  row = expand(folder=tmp_path, seeds=6, only=["a"])
  finish(row[1], 0.5, 0.5)
  row[2].workdir.mkdir()
  (row[2].workdir / "config.json").touch()
  jobs = expansion.group_replicas(row)
  titles = ["a seed 0", "a seed 1", "a seed 2", "a seeds 3 to 5"]
  assert [job.title() for job in jobs] == titles
  assert [job.is_complete() for job in jobs] == [False, True, False, False]
  three = jobs[3]
  assert three.workdir == tmp_path / "a"
  config = config_of(three)
  assert (config.seed, config.train.replicas) == (3, 3)
  alone = training.configs_of_seeds(config)
  assert alone == [config_of(run) for run in row[3:]]
  for run in row[3:]:
    finish(run, 0.5, 0.5)
  assert three.is_complete()


def test_samples_and_collecting_need_no_weights():
  config = config_of(expand()[1])
  assert (config.model.transfer, config.model.weights) == ("scratch", "")
  with pytest.raises(InputError, match="--weights: nowhere has no mobilenet_v"):
    expand(sample=False)
  made = expand(sample=False, weights=None)
  assert [run.workdir for run in made] == [run.workdir for run in expand()]
  assert not any("model.weights" in str(run.arguments) for run in made)


def test_weights_are_found_by_their_name(tmp_path):
  for suffix in ("h5", "safetensors"):
    path = tmp_path / f"mobilenet_v2_1.0_224.{suffix}"
    path.touch()
    run = expand(sample=False, weights=tmp_path)[1]
    assert f"model.weights={path}" in run.arguments
    path.unlink()


def test_mistakes_in_a_study_are_refused():
  toy = MEMBERS[:1]
  for options, message in (
    ({"members": ()}, "study: got no members"),
    ({"members": toy * 2}, "a member named 'a'; valid: each once"),
    ({"members": (Member("../x", "c"),)}, "a member named '../x'"),
    ({"members": toy, "pairs": (("a", "c"),)}, "with 'c'; valid: a"),
    (
      {"members": toy, "claims": (study.Claim("t", "a", "", "m", "?"),)},
      "a claim of relation '?'; valid: '>'",
    ),
  ):
    with pytest.raises(InputError) as caught:
      Study("t", "s", sample={}, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_teacher_is_another_member(tmp_path):
  teacher = dataclasses.replace(MEMBERS[0], seeds=1)
  student = Member("c", "idc_v1", {"model.width": 0.25}, teacher="a")
  made = dataclasses.replace(TOY, members=(teacher, student), pairs=())
  runs = expand(made, folder=tmp_path)
  titles = [run.title() for run in runs]
  assert titles == ["a seed 0", "c seed 0", "c seed 1"]
  assert not config_of(runs[0]).train.teacher
  # All seeds learn from one, unless each splits the data anew.
  for run in runs[1:]:
    assert config_of(run).train.teacher == str(tmp_path / "a" / "seed0")
  teacher = dataclasses.replace(teacher, seeds=0)
  resplit = dataclasses.replace(made, members=(teacher, student), resplit=True)
  *_, last = expand(resplit, folder=tmp_path)
  assert config_of(last).train.teacher == str(tmp_path / "a" / "seed1")
  for members in ((student, teacher), (student,)):
    with pytest.raises(InputError, match="with the teacher 'a'; valid: a mem"):
      dataclasses.replace(made, members=members)


def test_a_student_of_another_teacher_does_not_count(tmp_path):
  student = Member("c", "idc_v1", teacher="a")
  made = dataclasses.replace(TOY, members=(MEMBERS[0], student), pairs=())

  def finished(name, **fields):
    path = tmp_path / name / "seed0" / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**toy_summary.FIELDS, **fields}))

  def runs():
    return expand(made, folder=tmp_path, only=["a", "c"])[:2]

  finished("a", state_sha256="one")
  for taught in ({"state_sha256": "one"}, {}):  # or by an earlier version
    finished("c", teacher=taught)
    assert all(run.is_complete() for run in runs())
  finished("c", teacher={"state_sha256": "one"})
  finished("a", state_sha256="two")
  teacher, stale = runs()
  assert teacher.is_complete()
  assert not stale.is_complete()
  assert "learnt from another network than" in stale.damage()
  assert list(evidence.read([teacher, stale])) == ["a"]
  # A student outlives its teacher.
  shutil.rmtree(tmp_path / "a")
  assert runs()[1].is_complete()


def test_resplit_changes_the_split_with_the_seed():
  for resplit, seeds in ((False, [0, 0]), (True, [0, 1])):
    made = dataclasses.replace(TOY, resplit=resplit)
    runs = expand(made, only=["a"])
    assert [config_of(run).data.split_seed for run in runs] == seeds


FOLDS = dataclasses.replace(
  TOY,
  members=(
    *(Member(name, "idc_v1") for name in "ab"),
    Member("seen", "idc_v1", ensemble=("a",), views="flips"),
    Member("both", "idc_v1", ensemble=("seen", "b")),
  ),
  folds=3,
)


def test_seeds_are_folds():
  runs = expand(FOLDS, seeds=3, sample=False)
  folds = [config_of(r).data for r in runs if r.member.name == "b"]
  assert [(x.split, x.folds, x.fold) for x in folds] == [
    ("kfold", 3, k) for k in range(3)
  ]
  assert FOLDS.splits_anew
  with pytest.raises(InputError, match="--seeds: got 4; valid: 1 to 3"):
    expand(FOLDS, seeds=4)
  with pytest.raises(InputError, match="resplit with 3 folds"):
    dataclasses.replace(FOLDS, resplit=True)


def test_ensembles_are_of_the_same_seed_where_seeds_split_anew():
  runs = {(r.member.name, r.seed): r for r in expand(FOLDS, seeds=2)}
  assert runs["both", 1].parts == (
    pathlib.Path("runs/seen/seed1"),
    pathlib.Path("runs/b/seed1"),
  )
  assert runner.command(runs["seen", 1]) == (
    "mn_jax.tools.ensemble",
    "--output=runs/seen/seed1",
    "--tta=flips",
    "--workdir",
    "runs/a/seed1",
  )


def test_ensembles_are_of_all_seeds_on_one_split():
  made = dataclasses.replace(FOLDS, folds=0)
  runs = [r for r in expand(made, seeds=2) if r.member.ensemble]
  assert [(r.member.name, r.seed) for r in runs] == [("seen", 0), ("both", 0)]
  assert runs[0].parts == tuple(pathlib.Path(f"runs/a/seed{k}") for k in (0, 1))
  # The one run of an ensemble, and both of the other.
  places = ("seen/seed0", "b/seed0", "b/seed1")
  assert runs[1].parts == tuple(pathlib.Path(f"runs/{x}") for x in places)


@pytest.mark.parametrize("folds", [0, 3])
def test_an_ensemble_runs_after_all_its_runs(folds):
  runs = expand(dataclasses.replace(FOLDS, folds=folds), seeds=3)
  done = set()
  for run in runs:
    assert done.issuperset(run.parts)
    done.add(run.workdir)
  assert len(runs) == (12 if folds else 8)


def test_an_ensemble_is_of_members_before_it():
  with pytest.raises(InputError, match="'a' as the mean of 'b'"):
    dataclasses.replace(TOY, members=(Member("a", "idc_v1", ensemble=("b",)),))


def test_weights_may_be_a_file_that_no_manifest_names(tmp_path):
  member = Member("a", "idc_v2:fine_tune", weights="own.safetensors")
  made = dataclasses.replace(TOY, members=(member,), pairs=())
  with pytest.raises(InputError, match=r"has no own\.safetensors"):
    expand(made, sample=False, weights=tmp_path)
  (tmp_path / "own.safetensors").touch()
  (run, _) = expand(made, sample=False, weights=tmp_path)
  assert f"model.weights={tmp_path / 'own.safetensors'}" in run.arguments
