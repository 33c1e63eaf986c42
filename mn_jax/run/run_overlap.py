"""Whether another run was trained on images that a run holds out.

The other run is a teacher, or the start, whose weights training starts from.
What either has learnt of an image it passes on. So it must not have been
trained on images of the run's validation or test part, and its checkpoint not
have been selected on those of the test.
"""

import dataclasses
import pathlib

import numpy as np

from mn_jax.config import Config
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError
from mn_jax.observe import formatting
from mn_jax.run import records, reopen, split_data, weights_of_run
from mn_jax.run.split_data import SplitData
from mn_jax.weights.pretrained import Origin

OTHER_IMAGES = "of other images"  # a relation
_EXAMPLES = 3  # names in an error


@dataclasses.dataclass(frozen=True)
class Overlap:
  """What another run knows of a run's held-out images.

  Attributes:
    relation: of the other's split to the run's: 'the same', 'another' of the
      same images, 'of other images' where only names of groups can be compared,
      or 'unknown'.
    leak: what it knows, after 'the teacher' or such; '' for nothing.
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


def open_named(field: str, path: pathlib.Path) -> reopen.SavedRun:
  """Opens the other run.

  Args:
    field: of the config that names it.
    path: its workdir.

  Raises:
    InputError: if it cannot be read, naming the field.
  """
  try:
    return reopen.open_run(path)
  except InputError as error:
    raise weights_of_run.unreadable(field, str(path), error) from None


def check_start(
  origin: Origin | None, config: Config, data: SplitData
) -> Origin | None:
  """Refuses the start from a run that knows this one's held-out images.

  Args:
    origin: of the weights that the run starts from, if any.
    config: the experiment.
    data: of the run.

  Returns:
    The origin, with a note where groups or images of the start are called like
    held-out ones here, which may be chance.

  Raises:
    InputError: if `model.weights` is a run that was trained on these images.
  """
  name = config.model.weights
  if origin is None or not weights_of_run.is_run(name):
    return origin
  run = open_named("model.weights", pathlib.Path(name).expanduser())
  overlap = of_run(run, data)
  if not overlap.leak:
    return origin
  if overlap.relation != OTHER_IMAGES:
    raise InputError(
      f"model.weights: got {name!r}, a run that {overlap.leak} (such as "
      f"{', '.join(overlap.examples)}): metrics would promise too much; valid: "
      "a run of the same data.split and data.split_seed"
    )
  note = (
    f"the run of these weights {overlap.leak}, by their names: if they are the "
    "same, metrics promise too much"
  )
  return dataclasses.replace(
    origin, note="; ".join(filter(None, (origin.note, note)))
  )


def of_run(run: reopen.SavedRun, data: SplitData) -> Overlap:
  """Compares the images that another run knows with those a run holds out.

  The other's split is made again, of the run's images: nothing is decoded.
  Where it does not come out as the other had it, because the images are
  others, names of groups are compared (of images without groups, their names).

  Args:
    run: the other.
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
  """Returns the rows of the other's parts; None if its images are others."""
  digest = run.digests.get("split")
  if digest == data.split.sha256:
    return data.split.parts
  try:
    theirs = split_data.divide(run.config.data, data.cache)
  except InputError:
    return None
  return theirs.split.parts if theirs.split.sha256 == digest else None


def _by_group(run: reopen.SavedRun, data: SplitData, chosen_on: str) -> Overlap:
  """Compares groups by name with those that the other run wrote down."""
  saved = records.read_object(run.path / "split.json", {"groups": dict})
  held_out = {*data.groups("val"), *data.groups("test")}
  known = sorted(held_out & set(saved["groups"]["train"]))
  if known:
    what = f"{len(known)} groups or images"
    return _trained_on(OTHER_IMAGES, what, known)
  known = sorted({*data.groups("test")} & set(saved["groups"][chosen_on]))
  if known:
    what = f"{len(known)} groups or images"
    return _selected_on(OTHER_IMAGES, what, known)
  return Overlap(
    OTHER_IMAGES,
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
