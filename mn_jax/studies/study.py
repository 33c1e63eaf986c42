"""A study: runs that belong into one table, and what was published of them.

A study file, `configs/studies/NAME.py`, returns a `Study` from `get_study()`.
Nothing here runs anything: it says what to run, where, and what came of it.
"""

import dataclasses
import itertools
import json
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.run import workdir as workdir_lib
from mn_jax.weights import manifest

RELATIONS = (">", "<", "=")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Member:
  """One row of the table: a config, run with several seeds.

  Attributes:
    name: of the row, and of its folder.
    config: stem of a file in `configs`, with `:ARG` where one is wanted.
    fields: 'section.field' -> value, over the config.
    weights: name of the published weights that it begins with, one of
      `weights.manifest`; '' for none.
    published: metric -> number of the source, in the source's protocol.
    note: what a reader should know of the published numbers.
  """

  name: str
  config: str
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  weights: str = ""
  published: Mapping[str, float] = dataclasses.field(default_factory=dict)
  note: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
  """A statement that the runs decide: a metric, or its difference of two rows.

  Attributes:
    text: one line, as a reader would put it.
    one: row whose metric it is.
    other: row whose metric is taken from that, seed by seed; '' for none.
    metric: name in `summary.json`.
    relation: '>' or '<' than the value; '=' for no further from 0 than it.
    value: to compare with; for a difference usually 0.
  """

  text: str
  one: str
  other: str
  metric: str
  relation: str = ">"
  value: float = 0.0


@dataclasses.dataclass(frozen=True)
class Study:
  """What one table of a source asks, and how it is answered here.

  Attributes:
    title: one line.
    source: the document or paper whose table it is.
    members: its rows.
    sample: fields over those of every member that let it run in seconds on an
      embedded sample.
    metrics: those of the test that the table shows, most telling first.
    pairs: (row, row) that are compared, in the order of the difference.
    claims: what the source says, and whether it holds here.
    resplit: whether every seed splits the data anew, so that an interval over
      seeds has the choice of the test set in it too.
  """

  title: str
  source: str
  members: tuple[Member, ...]
  sample: Mapping[str, Any]
  metrics: tuple[str, ...] = ("balanced_accuracy", "accuracy", "auroc")
  pairs: tuple[tuple[str, str], ...] = ()
  claims: tuple[Claim, ...] = ()
  resplit: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
  """One training run of a study.

  Attributes:
    member: its row.
    seed: of initial values, order and augmentation.
    workdir: its folder.
    arguments: of `mn_jax.main`.
  """

  member: Member
  seed: int
  workdir: pathlib.Path
  arguments: tuple[str, ...]

  def title(self) -> str:
    """What names it in the terminal."""
    return f"{self.member.name} seed {self.seed}"

  def summary(self) -> dict[str, Any] | None:
    """The content of `summary.json`; None unless the run is complete.

    One without 'chosen_on' is of a version that did not say so.
    """
    try:
      summary = json.loads((self.workdir / "summary.json").read_text())
    except (OSError, ValueError):
      return None
    return summary if "chosen_on" in summary else None

  def is_complete(self) -> bool:
    """Whether nothing is left to run."""
    return self.summary() is not None


@dataclasses.dataclass(frozen=True)
class RunsTogether:
  """Consecutive seeds of one row, trained in one program.

  Attributes:
    runs: two or more, by seed.
  """

  runs: tuple[Run, ...]

  @property
  def workdir(self) -> pathlib.Path:
    """The folder of their folders."""
    return self.runs[0].workdir.parent

  @property
  def arguments(self) -> tuple[str, ...]:
    """Of `mn_jax.main`."""
    replicas = f"--config.train.replicas={len(self.runs)}"
    return (*self.runs[0].arguments, replicas)

  def title(self) -> str:
    """What names them in the terminal."""
    first, last = self.runs[0], self.runs[-1]
    return f"{first.member.name} seeds {first.seed} to {last.seed}"

  def is_complete(self) -> bool:
    """Whether nothing is left to run."""
    return all(run.is_complete() for run in self.runs)


def load(path: str) -> Study:
  """The study of a file.

  Raises:
    InputError: if there is none, or it is none.
  """
  file = pathlib.Path(path)
  if not file.is_file() or file.suffix != ".py":
    known = sorted(
      p.as_posix() for p in pathlib.Path("configs/studies").glob("*.py")
    )
    valid = ", ".join(known) or "a file with get_study()"
    raise InputError(f"study: got {path!r}; valid: {valid}")
  found = runpy.run_path(str(file)).get("get_study")
  if found is None:
    raise InputError(f"study: {path} has no get_study(); valid: one that has")
  study = found()
  _check(study, path)
  return study


def expand(
  study: Study,
  *,
  folder: pathlib.Path,
  seeds: int,
  sample: bool,
  weights: pathlib.Path | None,
  only: Sequence[str],
  overrides: Sequence[str] = (),
) -> list[Run]:
  """The runs of a study, seed by seed so that a part of them is of use.

  Args:
    study: which.
    folder: of all its runs.
    seeds: number of seeds of every member, from 0 on.
    sample: whether to run on the embedded sample, in seconds; members that
      begin with published weights are drawn instead.
    weights: folder of published weights; None where nothing will be run, but
      only gathered.
    only: names of the members to run.
    overrides: `section.field=value` over everything else.

  Raises:
    InputError: if published weights are missing.
  """
  runs = []
  for seed in range(seeds):
    for member in study.members:
      if member.name not in only:
        continue
      fields = {**member.fields, "seed": seed}
      if study.resplit:
        fields["data.split_seed"] = seed
      if sample:
        fields |= study.sample
        if member.weights:
          fields |= {"model.transfer": "scratch", "model.match_statistics": 0}
      elif member.weights and weights is not None:
        fields["model.weights"] = _find(weights, member)
      runs.append(
        Run(
          member,
          seed,
          workdir_lib.of_seed(folder / member.name, seed),
          (
            f"--config={_config(member.config)}",
            *(f"--config.{name}={value}" for name, value in fields.items()),
            *(f"--config.{override}" for override in overrides),
          ),
        )
      )
  return runs


def together(row: Sequence[Run]) -> list[Run | RunsTogether]:
  """What runs all seeds of a row with as few programs as there can be.

  Seeds that have begun are kept apart from those that have not, which would
  make them start again.

  Args:
    row: runs of one member, by seed, that share their split.
  """
  jobs: list[Run | RunsTogether] = []
  for _, group in itertools.groupby(row, _progress):
    some = tuple(group)
    if len(some) == 1 or some[0].is_complete():
      jobs += some
    else:
      jobs.append(RunsTogether(some))
  return jobs


def _progress(run: Run) -> tuple[bool, bool]:
  """Whether a run is complete, and whether it has begun."""
  return run.is_complete(), (run.workdir / "config.json").exists()


def _config(name: str) -> str:
  stem, colon, arg = name.partition(":")
  return f"configs/{stem}.py{colon}{arg}"


def _find(folder: pathlib.Path, member: Member) -> str:
  """The file of published weights: as fetched, or called by their name."""
  published = manifest.get(member.weights)
  names = (
    published.top.name,
    published.no_top.name,
    f"{published.name}.h5",
    f"{published.name}.safetensors",
  )
  for name in names:
    if (folder / name).is_file():
      return str(folder / name)
  raise InputError(
    f"--weights: {folder} has no {names[0]} or {names[3]}, with which "
    f"{member.name!r} begins; valid: a folder that has it, or after `python -m "
    f"mn_jax.tools.fetch {published.name}`"
  )


def _check(study: Any, path: str) -> None:
  """Refuses what is no study, or one with mistakes.

  Raises:
    InputError: naming the first.
  """
  if not isinstance(study, Study) or not study.members:
    raise InputError(f"study: {path} gives no study with members")
  names = [member.name for member in study.members]
  for name in names:
    if not _NAME.fullmatch(name) or names.count(name) > 1:
      raise InputError(
        f"study: {path} has a member named {name!r}; valid: each once, of "
        "a-z, 0-9, '_', '.' and '-'"
      )
  compared = [name for pair in study.pairs for name in pair]
  compared += [claim.one for claim in study.claims]
  compared += [claim.other for claim in study.claims if claim.other]
  for name in compared:
    if name not in names:
      raise InputError(
        f"study: {path} compares {name!r}; valid: {', '.join(names)}"
      )
  for claim in study.claims:
    if claim.relation not in RELATIONS:
      raise InputError(
        f"study: {path} has a claim of relation {claim.relation!r}; valid: "
        + ", ".join(map(repr, RELATIONS))
      )
