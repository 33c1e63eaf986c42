"""Expands a study into its runs: their folders and arguments."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.run import workdir as workdir_lib
from mn_jax.studies.study import Member, ReplicatedRuns, Study, StudyRun
from mn_jax.weights import locate, manifest


def expand(
  study: Study,
  *,
  folder: pathlib.Path,
  seeds: int,
  sample: bool,
  weights: pathlib.Path | None,
  only: Sequence[str],
  overrides: Sequence[str] = (),
  kept: pathlib.Path | None = None,
) -> list[StudyRun]:
  """Returns the runs of a study in an order in which they can be run.

  All members of seed 0 come first; ensembles of all seeds come last.

  Args:
    study: the study.
    folder: of all its runs.
    seeds: number of seeds of every member, from 0 on.
    sample: whether to run on generated images, in seconds; members that start
      from published weights are trained from scratch instead.
    weights: folder of published weights; None to gather results only.
    only: names of the members to run.
    overrides: `section.field=value` over all other fields.
    kept: folder of the study's kept runs, which need no weights; or None.

  Raises:
    InputError: if published weights are missing, or there are more seeds than
      folds.
  """
  if 0 < study.folds < seeds:
    raise InputError(
      f"--seeds: got {seeds}; valid: 1 to {study.folds}, the folds of the study"
    )
  members = {member.name: member for member in study.members}
  runs = []
  for seed in range(seeds):
    for member in study.members:
      if member.name not in only or 0 < member.seeds <= seed:
        continue
      if member.ensemble and seed and not study.splits_anew:
        continue
      fields = {**member.fields, "seed": seed}
      if study.resplit:
        fields["data.split_seed"] = seed
      if study.folds:
        fold = {"data.folds": study.folds, "data.fold": seed}
        fields |= {"data.split": "kfold", **fold}
      run = _run(member, seed, folder, kept)
      if member.teacher:
        of_seed = seed if study.splits_anew else 0
        teacher = _run(members[member.teacher], of_seed, folder, kept)
        fields["train.teacher"] = str(teacher.workdir.absolute())
        run = dataclasses.replace(run, teacher=_where(teacher))
      if sample:
        fields |= study.sample
        if member.weights:
          fields |= {"model.transfer": "scratch", "model.match_statistics": 0}
      starts = member.weights and not sample and not run.is_kept()
      if starts and weights is not None:
        fields["model.weights"] = _find(weights, member)
      changed = (f"{name}={value}" for name, value in fields.items())
      arguments = (f"--config={member.config}", *changed, *overrides)
      parts = ()
      if member.ensemble:
        wanted = [seed] if study.splits_anew else range(seeds)
        parts = _parts(study, member, wanted, folder=folder, kept=kept)
      runs.append(dataclasses.replace(run, arguments=arguments, parts=parts))
  return sorted(runs, key=lambda run: bool(run.parts) and not study.splits_anew)


def _run(
  member: Member, seed: int, folder: pathlib.Path, kept: pathlib.Path | None
) -> StudyRun:
  """Returns a run, its arguments aside."""
  return StudyRun(
    member,
    seed,
    workdir_lib.of_seed(folder / member.name, seed),
    (),
    None if kept is None else workdir_lib.of_seed(kept / member.name, seed),
  )


def _parts(
  study: Study,
  member: Member,
  seeds: Sequence[int],
  *,
  folder: pathlib.Path,
  kept: pathlib.Path | None,
) -> tuple[pathlib.Path, ...]:
  """Returns the folders of the runs of seeds that an ensemble is the mean of.

  Those are workdirs, where the weights are, or where there is none the folders
  that runs are kept in. Ensembles of seeds on one split have one run, that of
  seed 0.
  """
  found = {part.name: part for part in study.members}
  runs = [
    _run(found[name], seed, folder, kept)
    for name in member.ensemble
    for seed in (seeds[:1] if found[name].ensemble else seeds)
    if not 0 < found[name].seeds <= seed
  ]
  return tuple(map(_where, runs))


def _where(run: StudyRun) -> pathlib.Path:
  """Returns the folder of a run: that with its weights if it is there."""
  has_ended = (run.workdir / "summary.json").exists()
  return run.workdir if has_ended else run.folder


def check_folders(runs: Sequence[StudyRun]) -> None:
  """Refuses folders of other configs, whose results would be taken for these.

  A run that has not ended may differ in what a resumed run may change.

  Raises:
    InputError: with the fields that differ.
  """
  for run in runs:
    if not run.parts and (run.workdir / "config.json").exists():
      config = files.load_config(run.member.config, run.arguments[1:])
      folder = workdir_lib.Workdir(run.workdir, first_process=False)
      folder.check_config(config, same=run.is_complete())


def group_replicas(row: Sequence[StudyRun]) -> list[StudyRun | ReplicatedRuns]:
  """Groups the seeds of a member into as few programs as possible.

  Seeds that have started stay apart from those that have not, which would
  make them start again.

  Args:
    row: runs of one member in the order of seeds, all on the same split.
  """
  jobs: list[StudyRun | ReplicatedRuns] = []
  for _, group in itertools.groupby(row, _progress):
    some = tuple(group)
    if len(some) == 1 or some[0].is_complete():
      jobs += some
    else:
      jobs.append(ReplicatedRuns(some))
  return jobs


def _progress(run: StudyRun) -> tuple[bool, bool]:
  return run.is_complete(), (run.workdir / "config.json").exists()


def _find(folder: pathlib.Path, member: Member) -> str:
  """The file of published weights, by its name as fetched or by their name."""
  if member.weights.endswith((".h5", ".safetensors")):
    if (folder / member.weights).is_file():
      return str(folder / member.weights)
    raise InputError(
      f"--weights: {folder} has no {member.weights}, from which "
      f"{member.name!r} starts; valid: a folder that has it"
    )
  published = manifest.get(member.weights)
  path = locate.find(folder, published)
  if path is not None:
    return str(path)
  by_publisher, *_, by_name = locate.file_names(published)
  raise InputError(
    f"--weights: {folder} has no {by_publisher} or {by_name}, from which "
    f"{member.name!r} starts; valid: a folder that has it, or after `python -m "
    f"mn_jax.tools.fetch {published.name}`"
  )
