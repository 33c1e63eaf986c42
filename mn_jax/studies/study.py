"""Studies: trainings that are compared in one table, and published numbers.

A study file, `configs/studies/NAME.py`, returns a `Study` from `get_study()`.
`expansion.py` expands it into the command lines of its runs, `runner.py` runs
them and `results.py` gathers their metrics.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from mn_jax.errors import InputError
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.run import ensemble_record, records

RELATIONS = (">", "<", "=")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Member:
  """One row of the table: a config, run with several seeds.

  Attributes:
    name: of the row, and of its folder.
    config: NAME[:ARG] or FILE.py[:ARG], as for `mn_jax.main`.
    fields: 'section.field' -> value, over the config.
    weights: name of the published weights that training starts from, one of
      `weights.manifest`, or of a file in their folder, with the suffix .h5 or
      .safetensors; '' for none.
    teacher: name of the member whose run is `train.teacher`, before this one:
      that of the same seed if seeds split the data anew, else that of the first
      seed, which all have in common; '' for none.
    ensemble: names of members before it; nothing is trained then, and the row
      is the mean of their runs: of the same seed if seeds split the data anew,
      else of all seeds, and the row has one run. Its config tells the split.
    views: with ensemble, symmetries by which each run sees an image, a name in
      `augment.views.KINDS`; '' for the plain image.
    seeds: at most so many seeds are run; 0: as many as are asked for.
    published: metric -> number of the paper, by the paper's protocol. Of a
      paper that reports the last epoch they are 'last/train/...',
      'last/val/...' and 'last/test/...'; without 'last/' they are of the
      checkpoint that validation chose.
    note: what a reader should know about the published numbers.
    optional: whether it is run only where it is named, as a row that costs much
      or whose weights are not to be had.
  """

  name: str
  config: str
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  weights: str = ""
  teacher: str = ""
  ensemble: tuple[str, ...] = ()
  views: str = ""
  seeds: int = 0
  published: Mapping[str, float] = dataclasses.field(default_factory=dict)
  note: str = ""
  optional: bool = False


@dataclasses.dataclass(frozen=True)
class Claim:
  """A statement that the runs decide: about a metric, or its difference.

  Attributes:
    text: one line.
    one: the member whose metric it is about.
    other: a member whose metric is subtracted, seed by seed; '' for none.
    metric: name in `summary.json`.
    relation: '>' or '<' than the value; '=' for at most the value from 0.
    value: to compare with; usually 0 for a difference.
    margin: the least distance from the value that would matter, for which the
      claim is to be decided; from it follows how many seeds are needed. Of '='
      the value itself is the margin.
    spread: standard deviation over seeds that is expected of the metric, or of
      the difference, from earlier runs; 0: not known before the study is run.
  """

  text: str
  one: str
  other: str
  metric: str
  relation: str = ">"
  value: float = 0.0
  margin: float = 0.02
  spread: float = 0.0


@dataclasses.dataclass(frozen=True)
class Study:
  """One table of a paper, and the runs that repeat it.

  Attributes:
    title: one line.
    source: the paper whose table it is.
    members: the rows of the table.
    sample: fields over those of every member that let it run in seconds on
      generated images.
    metrics: test metrics that the table shows, the most telling first.
    pairs: members to compare, as (minuend, subtrahend).
    claims: statements to decide, such as those of the paper.
    resplit: whether every seed splits the data anew, so that intervals over
      seeds include the choice of the test set.
    folds: seed k tests fold k of so many, per group where groups are known, so
      that each is tested once by every member; 0: none.
  """

  title: str
  source: str
  members: tuple[Member, ...]
  sample: Mapping[str, Any]
  metrics: tuple[str, ...] = ("balanced_accuracy", "accuracy", "auroc")
  pairs: tuple[tuple[str, str], ...] = ()
  claims: tuple[Claim, ...] = ()
  resplit: bool = False
  folds: int = 0

  @property
  def splits_anew(self) -> bool:
    """Whether the seeds of a member are tested on different images."""
    return self.resplit or self.folds > 0

  def __post_init__(self):
    if not self.members:
      raise InputError("study: got no members; valid: one or more")
    names = [member.name for member in self.members]
    for name in names:
      if not _NAME.fullmatch(name) or names.count(name) > 1:
        raise InputError(
          f"study: got a member named {name!r}; valid: each once, of a-z, 0-9, "
          "'_', '.' and '-'"
        )
    for i, member in enumerate(self.members):
      if member.teacher and member.teacher not in names[:i]:
        raise InputError(
          f"study: got {member.name!r} with the teacher {member.teacher!r}; "
          f"valid: a member before it: {', '.join(names[:i]) or 'none'}"
        )
      for name in member.ensemble:
        if name not in names[:i]:
          raise InputError(
            f"study: got {member.name!r} as the mean of {name!r}; valid: "
            f"members before it: {', '.join(names[:i]) or 'none'}"
          )
    if self.resplit and self.folds:
      raise InputError(
        f"study: got resplit with {self.folds} folds; valid: one of them"
      )
    compared = [name for pair in self.pairs for name in pair]
    compared += [claim.one for claim in self.claims]
    compared += [claim.other for claim in self.claims if claim.other]
    for name in compared:
      if name not in names:
        raise InputError(
          f"study: got a comparison with {name!r}; valid: {', '.join(names)}"
        )
    for claim in self.claims:
      if claim.relation not in RELATIONS:
        raise InputError(
          f"study: got a claim of relation {claim.relation!r}; valid: "
          f"{', '.join(map(repr, RELATIONS))}"
        )
      if claim.margin <= 0 or claim.spread < 0:
        raise InputError(
          f"study: got a claim of margin {claim.margin:g} and spread "
          f"{claim.spread:g}; valid: a margin above 0, a spread of at least 0"
        )


@dataclasses.dataclass(frozen=True)
class StudyRun:
  """One training run of a study: a member with one seed.

  Attributes:
    member: what is trained.
    seed: of initial weights, order and augmentation.
    workdir: its folder.
    arguments: of `mn_jax.main`; of an ensemble they tell its split alone.
    kept: folder that it is kept in when it is complete, and counts from even
      without its workdir; None to keep nothing. See `studies.kept`.
    parts: folders of the runs that an ensemble is the mean of.
    teacher: folder of the run that it learns from; None without one.
  """

  member: Member
  seed: int
  workdir: pathlib.Path
  arguments: tuple[str, ...]
  kept: pathlib.Path | None = None
  parts: tuple[pathlib.Path, ...] = ()
  teacher: pathlib.Path | None = None

  def title(self) -> str:
    """Returns its name for the terminal."""
    return f"{self.member.name} seed {self.seed}"

  def summary(self) -> dict[str, Any] | None:
    """Returns the content of `summary.json`; None unless the run is complete.

    A damaged summary does not count, so that the run writes it again.

    Raises:
      InputError: if the run is kept, but its summary is damaged.
    """
    if self.is_kept():
      return records.read_summary(self.folder)
    try:
      return records.read_summary(self.workdir)
    except InputError:
      return None

  def is_kept(self) -> bool:
    """Whether the run is complete and kept."""
    return self.kept is not None and (self.kept / "summary.json").exists()

  @property
  def folder(self) -> pathlib.Path:
    """The folder of its results: where it is kept, else its workdir."""
    return self.kept if self.is_kept() else self.workdir

  def damage(self) -> str:
    """Returns why a summary that is there does not count, or ''."""
    try:
      if (self.workdir / "summary.json").exists():
        records.read_summary(self.workdir)
    except InputError as error:
      return str(error)
    summary = self.summary()
    if summary is None or not self.staleness(summary):
      return ""
    return f"{str(self.folder)!r} {self.staleness(summary)}"

  def predictions(self, part: str) -> predictions_lib.NamedPredictions | None:
    """Returns the predictions for a part; None if they cannot be read.

    Args:
      part: 'val' or 'test'.
    """
    try:
      return predictions_lib.read(self.folder / "predictions" / f"{part}.npz")
    except InputError:
      return None

  def images(self) -> dict[str, int]:
    """Returns the number of images of each part; empty if it is not known."""
    try:
      split = records.read_object(self.folder / "split.json", records.SPLIT)
    except InputError:
      return {}
    return split["images"]

  def is_complete(self) -> bool:
    """Whether nothing is left to run, of this run and those it depends on."""
    summary = self.summary()
    return summary is not None and not self.staleness(summary)

  def staleness(self, summary: Mapping[str, Any]) -> str:
    """Returns how its summary is of other runs than there are now, or ''."""
    views = self.member.views
    if self.parts and not ensemble_record.is_current(
      summary, self.parts, views
    ):
      return f"is the mean of other runs than those of {self.member.name!r} now"
    if self.teacher and not ensemble_record.is_of_teacher(
      summary, self.teacher
    ):
      return f"learnt from another network than {str(self.teacher)!r} is now"
    return ""


@dataclasses.dataclass(frozen=True)
class ReplicatedRuns:
  """Consecutive seeds of one member, trained together in one program.

  Attributes:
    runs: two or more, by seed.
  """

  runs: tuple[StudyRun, ...]

  @property
  def workdir(self) -> pathlib.Path:
    """The folder of their folders."""
    return self.runs[0].workdir.parent

  @property
  def arguments(self) -> tuple[str, ...]:
    """Of `mn_jax.main`."""
    replicas = f"train.replicas={len(self.runs)}"
    return (*self.runs[0].arguments, replicas)

  def title(self) -> str:
    """Returns their name for the terminal."""
    first, last = self.runs[0], self.runs[-1]
    return f"{first.member.name} seeds {first.seed} to {last.seed}"

  def is_complete(self) -> bool:
    """Whether nothing is left to run."""
    return all(run.is_complete() for run in self.runs)
