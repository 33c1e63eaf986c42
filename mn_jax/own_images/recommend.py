"""Settings for a user's own images: what a practitioner would choose, and why.

They depend on what the images are (`Facts`), on whether ImageNet weights are on
this machine, and on what the user has fixed already. Each decision is a
`Choice` with its reason in plain words, for the programs to print.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.config.sections.data import DataConfig
from mn_jax.data import classes as classes_lib
from mn_jax.data import decode, groups
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe.formatting import count
from mn_jax.run import recalibrate
from mn_jax.weights import locate

MODEL = "mobilenet_v2"
# Images whose headers are read for their sizes, spread over all.
_HEADERS = 128
# Networks halve their input five times.
_MULTIPLE, _LEAST_INPUT = 32, 64
# Long side over short side from which the middle square loses too much.
_LONG = 1.6
# Images of the largest class over those of the smallest.
_IMBALANCED = 1.5
# Updates after which more of them rarely help, and the epochs that they may
# take; each epoch ends with a validation, and early stopping has the last word.
_UPDATES = {"fine_tune": 2000, "scratch": 8000}
_EPOCHS = {"fine_tune": (5, 30), "scratch": (15, 60)}
_FROZEN_EPOCHS = 30
_UNITS = ("epochs", "steps", "examples")
# Of the training part, where the images are not in parts.
_TRAIN_SHARE = 0.65


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known of a user's images before they are decoded.

  Attributes:
    classes: their names, in the order of the labels.
    counts: i64[classes], images of each class; of the training part where the
      images are in parts. With several labels per image they sum to more.
    images: number of all images.
    train: number of images that will be trained on, about.
    groups: number of groups, such as patients; 0: none known.
    test_part: whether some images are a published test.
    multi_label: whether an image may have several labels.
    sizes: i64[m, 2], height and width of some images, in pixels.
  """

  classes: tuple[str, ...]
  counts: np.ndarray
  images: int
  train: int
  groups: int
  test_part: bool
  multi_label: bool
  sizes: np.ndarray

  @property
  def short_side(self) -> int:
    """The median of the shorter sides, in pixels."""
    return int(np.median(self.sizes.min(1)))

  @property
  def aspect(self) -> float:
    """The median of the longer side over the shorter one."""
    return float(np.median(self.sizes.max(1) / self.sizes.min(1)))

  @property
  def imbalance(self) -> float:
    """Images of the largest class over those of the smallest that has any."""
    present = self.counts[self.counts > 0]
    return float(present.max() / present.min())


@dataclasses.dataclass(frozen=True)
class Choice:
  """One decision.

  Attributes:
    fields: 'section.field' -> value; empty where a default is right.
    reason: why, in plain words.
  """

  fields: Mapping[str, Any]
  reason: str


def facts(section: DataConfig, source: ImageFiles) -> Facts:
  """Reads what decides from a listing and the headers of some images.

  Args:
    section: how many classes are used, and how groups are found in names.
    source: the images, listed and not decoded.

  Raises:
    InputError: if no header of those that are looked at can be read.
  """
  listing, labels = source.listing, source.listing.labels
  names = listing.classes[: section.classes or None]
  rows = np.arange(len(listing))
  if not listing.multi_label:
    rows = np.flatnonzero(labels < len(names))
  parts = listing.parts[rows]
  trained = rows[parts == "train"] if (parts == "train").any() else rows
  has_parts = len(trained) < len(rows)
  group_of = listing.groups
  if section.group_pattern:
    group_of, _ = groups.by_pattern(section.group_pattern, listing.names)
  found = len(np.unique(group_of[rows]))
  share = section.train_fraction * (1 if has_parts else _TRAIN_SHARE)
  return Facts(
    classes=names,
    counts=classes_lib.count(labels[trained], len(names)),
    images=len(rows),
    train=max(1, round(len(trained) * share)),
    # Where none are known, each image is one by itself.
    groups=found if found < len(rows) else 0,
    test_part=bool((parts == "test").any()),
    multi_label=listing.multi_label,
    sizes=_sizes(source, rows),
  )


def choices(
  facts: Facts, given: Mapping[str, Any], *, imagenet: bool
) -> tuple[Choice, ...]:
  """Decides what the user has left open.

  Args:
    facts: of the images.
    given: 'section.field' -> value, which the user has fixed.
    imagenet: whether ImageNet weights of the network are on this machine.

  Returns:
    The decisions, none of which has a field that is given.

  Raises:
    InputError: for a network that does not exist, or an optimizer that needs a
      learning rate.
  """
  decided = []
  for choice in _Chooser(facts, given, imagenet).all():
    left = {k: v for k, v in choice.fields.items() if k not in given}
    if left or not choice.fields:
      decided.append(Choice(left, choice.reason))
  return tuple(decided)


def fields(decided: Sequence[Choice]) -> dict[str, Any]:
  """Returns 'section.field' -> value of all decisions."""
  return {k: v for choice in decided for k, v in choice.fields.items()}


def _sizes(source: ImageFiles, rows: np.ndarray) -> np.ndarray:
  """Returns i64[m, 2], height and width by the headers of some images."""
  places = np.unique(np.linspace(0, len(rows) - 1, _HEADERS).round())
  sizes = []
  for row in rows[places.astype(int)].tolist():
    try:
      header = decode.header(source.files.read(source.listing.paths[row]))
    except (decode.DecodeError, OSError):
      continue  # which is counted when all are decoded
    sizes.append((header.height, header.width))
  if not sizes:
    raise InputError(
      f"data.path: got {len(places)} files of which none can be read; valid: "
      f"images of {', '.join(decode.FORMATS)}"
    )
  return np.array(sizes, np.int64)


class _Chooser:
  """The decisions on one set of images."""

  def __init__(self, facts: Facts, given: Mapping[str, Any], imagenet: bool):
    self.facts, self.given = facts, given
    self.model = given.get("model.name", MODEL)
    self.spec = registry.get(self.model)
    wanted = given.get("model.transfer", "scratch") != "scratch"
    weights = given.get(
      "model.weights", "imagenet" if imagenet or wanted else ""
    )
    self.transfer = given.get(
      "model.transfer", "fine_tune" if weights else "scratch"
    )
    self.weights = "" if self.transfer == "scratch" else weights
    # Height and width at which images are stored, in pixels.
    self.design = self.spec.conventions.resolution
    rounded = -(-facts.short_side // _MULTIPLE) * _MULTIPLE
    self.size = given.get("data.image_size", min(self.design, rounded))
    usual = 32 if self.size >= 128 else 64
    fitting = 2 ** int(np.log2(max(2, facts.train // 4)))
    self.usual_batch = fitting >= usual
    self.batch = given.get("train.batch_size", min(usual, fitting))
    self.length = {
      unit: given[f"train.{unit}"]
      for unit in _UNITS
      if given.get(f"train.{unit}")
    }

  def all(self) -> Iterator[Choice]:
    """Yields the decisions in the order in which a person would make them."""
    yield self._split()
    yield self._network()
    yield from self._input()
    yield self._batch()
    yield from self._length()
    yield self._optimizer()
    yield self._class_weights()
    yield self._augmentation()
    yield Choice(
      {"data.max_unreadable": 0.1},
      "up to a tenth of the files may be unreadable: they are left out, and "
      "named in split.json",
    )

  def _split(self) -> Choice:
    if self.facts.test_part:
      why = "the images come with a test part, which is used as it is"
    elif self.facts.groups:
      why = (
        f"{count(self.facts.groups, 'group')} of images that belong together: "
        "each is kept in one part, if the classes have enough of them"
      )
    else:
      why = (
        "nothing says which images belong together: a random split, each class "
        "in proportion; if some do, see data.group_pattern"
      )
    return Choice({"data.split": "auto"}, why)

  def _network(self) -> Choice:
    fields = {"model.name": self.model, "model.norm_momentum": 0.9}
    if self.transfer == "scratch":
      why = "trained from scratch, as you say"
      if {"model.transfer", "model.weights"}.isdisjoint(self.given):
        name = locate.downloadable(
          self.model, width=self.given.get("model.width", 1.0)
        )
        there = f"--weights={name} downloads some, " if name else ""
        why = (
          "trained from scratch, much weaker with few images: ImageNet weights "
          f"of this network are not on this machine; {there}--weights=FILE "
          "takes yours"
        )
      return Choice(fields, why)
    fields |= {"model.weights": self.weights, "model.transfer": self.transfer}
    what = "ImageNet weights" if self.weights == "imagenet" else "these weights"
    if self.transfer == "frozen":
      return Choice(fields, f"a new head on fixed features of {what}")
    why = f"{what} are a better start than random ones; all layers are trained"
    if self._has_norms():
      fields["model.match_statistics"] = 2048
      why += ", with running statistics of your images"
    return Choice(fields, why)

  def _has_norms(self) -> bool:
    """Whether the network has running statistics that can be matched."""
    try:
      recalibrate.check(registry.describe(self.model, num_classes=2))
    except InputError:
      return False
    return True

  def _input(self) -> Iterator[Choice]:
    is_long = self.facts.aspect > _LONG
    why = "the size that the network was designed for"
    if "data.image_size" in self.given:
      why = f"of {self.facts.short_side} pixels at the short side"
    elif self.size != self.design:
      why = (
        f"the images are small, {self.facts.short_side} pixels at the short "
        "side"
      )
    if is_long:
      why += (
        f"; resized to the square, because they are {self.facts.aspect:.1f} "
        "times as long as short and a crop would lose the ends"
      )
    else:
      why += "; of each image the middle square"
    other_sizes = "resize" if is_long else "crop"
    yield Choice(
      {"data.image_size": self.size, "data.other_sizes": other_sizes}, why
    )
    least = max(_LEAST_INPUT, self.spec.min_resolution)
    if self.size < least:
      yield Choice(
        {"model.resolution": least},
        "enlarged on the device: the network halves its input five times",
      )

  def _batch(self) -> Choice:
    why = "usual for images of this size"
    if not self.usual_batch:
      why = f"small, for about {count(self.facts.train, 'training image')}"
    return Choice({"train.batch_size": self.batch}, why)

  def _length(self) -> Iterator[Choice]:
    epochs = self._epochs()
    patience = 5 if epochs is None else max(5, round(epochs / 3))
    stop = f"early stopping after {patience} validations without improvement"
    if self.given.get("train.replicas", 1) > 1:
      patience, stop = 0, "several seeds end together, without early stopping"
    if self.length:
      yield Choice({"train.patience": patience}, stop)
      return
    start = "from scratch" if self.transfer == "scratch" else "from weights"
    yield Choice(
      {"train.epochs": float(epochs), "train.patience": patience},
      f"for about {count(self.facts.train, 'training image')}, {start}; {stop}",
    )

  def _epochs(self) -> float | None:
    """Length of the run in epochs; None if it is given in another unit."""
    if self.length:
      return self.length.get("epochs")
    if self.transfer == "frozen":
      return _FROZEN_EPOCHS
    epochs = round(_UPDATES[self.transfer] * self.batch / self.facts.train)
    return float(np.clip(epochs, *_EPOCHS[self.transfer]))

  def _optimizer(self) -> Choice:
    name = self.given.get("optim.name", "adamw")
    is_adam = name in ("adam", "adamw")
    if not is_adam and "optim.learning_rate" not in self.given:
      raise InputError(
        f"optim.learning_rate: got nothing with optim.name {name!r}; valid: a "
        "rate for it, since the one that is recommended is for adamw"
      )
    rate, why = 1e-3, "usual"
    if self.transfer == "fine_tune":
      # 1e-3 was measured on EuroSAT and IDC, with batches of 64.
      rate = 1e-3 * min(1.0, self.batch / 64)
      why = "as was measured to fine-tune well, in proportion to the batch"
    fields = {
      "optim.name": name,
      "optim.learning_rate": rate,
      "optim.schedule": "cosine",
      **self._warmup(),
    }
    if name == "adamw":
      fields["optim.weight_decay"] = 0.01
    return Choice(fields, f"{why}; the rate rises first, then falls to 0")

  def _warmup(self) -> dict[str, float | int]:
    """A warm-up that is shorter than the run, in the unit of its length."""
    if any(self.given.get(f"optim.warmup_{unit}") for unit in _UNITS):
      return {}
    epochs = self._epochs()
    if epochs is not None:
      return {"optim.warmup_epochs": min(1.0, epochs / 10)}
    ((unit, length),) = list(self.length.items())[:1]
    return {f"optim.warmup_{unit}": length // 10}

  def _class_weights(self) -> Choice:
    if self.facts.multi_label:
      return Choice(
        {}, "no class weights: each label is a yes or no of its own"
      )
    ratio = (
      f"the largest class is {self.facts.imbalance:.1f} times the smallest"
    )
    corrected = self.given.get("data.sampling") == "balanced" or (
      self.given.get("train.logit_adjustment", 0) > 0
    )
    if corrected:
      return Choice({}, f"no class weights: {ratio}, corrected as you say")
    if self.facts.imbalance < _IMBALANCED:
      return Choice({"train.class_weights": "none"}, ratio)
    return Choice(
      {"train.class_weights": "balanced"},
      f"{ratio}: in the loss all classes count the same",
    )

  def _augmentation(self) -> Choice:
    if self.transfer == "frozen":
      return Choice({}, "no augmentation: features are computed once")
    scale, rest = (0.5, "half") if self.size >= 96 else (0.8, "most")
    return Choice(
      {"augment.flip": "horizontal", "augment.crop_scale": scale},
      f"assumed: mirrored left-right, and with {rest} of it shown, an image is "
      "of the same class. Letters, or left and right of a body: "
      "augment.flip=none. No canonical orientation (cells, satellites): "
      "augment.flip=both",
    )
