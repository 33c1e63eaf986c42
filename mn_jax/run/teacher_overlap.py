"""Whether a teacher learnt from images of a run's validation or test part.

What a teacher learnt of an image it passes on to its student, as softly as any
label. So it must not have been trained on images of the student's validation
or test part, and its checkpoint not have been selected on those of the test.
"""

import dataclasses

import numpy as np

from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError
from mn_jax.observe import formatting
from mn_jax.run import records, reopen, split_data
from mn_jax.run.split_data import SplitData

_EXAMPLES = 3  # names in an error


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What a teacher knows of a run's held-out images.

  Attributes:
    relation: of the teacher's split to the run's: 'the same', 'another' of the
      same images, 'of other images' where only names of groups can be compared,
      or 'unknown'.
    leak: what it knows, after 'the teacher'; '' for nothing.
    examples: names of some of these images or groups.
    note: what could not be compared, or ''.
  """

  relation: str
  leak: str = ""
  examples: tuple[str, ...] = ()
  note: str = ""


UNKNOWN = Overlap(
  "unknown",
  note="what the teacher was trained on is not known: if images of this run's "
  "validation or test are among it, metrics promise too much",
)


def of_run(run: reopen.SavedRun, data: SplitData) -> Overlap:
  """Compares the images that a teacher knows with those a run holds out.

  The teacher's split is made again, of the run's images: nothing is decoded.
  Where it does not come out as the teacher had it, because the images are
  others, names of groups are compared (of images without groups, their names).

  Args:
    run: the teacher.
    data: of the run.
  """
  chosen_on = run.config.eval.part
  parts = _parts(run, data)
  if parts is None:
    return _by_group(run, data, chosen_on)
  same = all(np.array_equal(parts[p], data.part(p)) for p in PARTS)
  relation = "the same" if same else "another"
  names = data.cache.names
  held_out = np.union1d(data.part("val"), data.part("test"))
  trained = np.intersect1d(parts["train"], held_out)
  if len(trained):
    what = formatting.count(len(trained), "image")
    return _trained_on(relation, what, names[trained])
  selected = np.intersect1d(parts[chosen_on], data.part("test"))
  if len(selected):
    what = formatting.count(len(selected), "image")
    return _selected_on(relation, what, names[selected])
  groups = data.cache.groups
  own = np.intersect1d(groups[data.part("train")], groups[held_out])
  if data.spec.group is not None and not len(own):
    known = np.intersect1d(groups[parts["train"]], groups[held_out])
    if len(known):
      what = formatting.count(len(known), data.spec.group)
      return _trained_on(relation, f"images of {what}", known)
  return Overlap(relation)


def _parts(
  run: reopen.SavedRun, data: SplitData
) -> dict[str, np.ndarray] | None:
  """Returns the rows of the teacher's parts; None if its images are others."""
  digest = run.digests.get("split")
  if digest == data.split.sha256:
    return data.split.parts
  try:
    theirs = split_data.divide(run.config.data, data.cache)
  except InputError:
    return None
  return theirs.split.parts if theirs.split.sha256 == digest else None


def _by_group(run: reopen.SavedRun, data: SplitData, chosen_on: str) -> Overlap:
  """Compares groups by name with those that the teacher wrote down."""
  saved = records.read_object(run.path / "split.json", {"groups": dict})
  held_out = {*data.groups("val"), *data.groups("test")}
  known = sorted(held_out & set(saved["groups"]["train"]))
  if known:
    what = f"{len(known)} groups or images"
    return _trained_on("of other images", what, known)
  known = sorted({*data.groups("test")} & set(saved["groups"][chosen_on]))
  if known:
    what = f"{len(known)} groups or images"
    return _selected_on("of other images", what, known)
  return Overlap(
    "of other images",
    note="the teacher was trained on other images; that none of this run's "
    "validation and test is among them was compared by name alone",
  )


def _trained_on(
  relation: str, what: str, names: np.ndarray | list[str]
) -> Overlap:
  leak = f"was trained on {what} of this run's validation and test part"
  return Overlap(relation, leak, _examples(names))


def _selected_on(
  relation: str, what: str, names: np.ndarray | list[str]
) -> Overlap:
  leak = f"was selected on {what} of this run's test part"
  return Overlap(relation, leak, _examples(names))


def _examples(names: np.ndarray | list[str]) -> tuple[str, ...]:
  return tuple(map(str, names[:_EXAMPLES]))
