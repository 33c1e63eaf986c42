"""What a user's images are, and what would be trained on them.

Every image is decoded and compared with the others; nothing is packed, and
nothing is written.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mn_jax.data import classes as classes_lib
from mn_jax.data import duplicates, packing, resizing, survey
from mn_jax.data.datasets.listing import PARTS, Listing
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.own_images import settings
from mn_jax.run import open_data, setup, split_data
from mn_jax.run.split_data import SplitData
from mn_jax.weights import locate

# With more images, comparing all with all takes minutes.
MOST_COMPARED = 50_000
_SAMPLE_SIDE = 160  # pixels
_SAMPLES, _SAMPLED_CLASSES = 6, 12
_PAIRS = 6


@dataclasses.dataclass(frozen=True)
class Alike:
  """Images that are equal or look alike, in sets or pairs.

  Attributes:
    names: of the images of each.
    classes: of these, as strings: several labels are joined by ' + '.
    parts: of these, in the split that would be trained on; '' in none.
  """

  names: tuple[tuple[str, ...], ...]
  classes: tuple[tuple[str, ...], ...]
  parts: tuple[tuple[str, ...], ...]

  def across_classes(self) -> np.ndarray:
    """Returns bool[n], which of them have several labels."""
    return np.array([len(set(names)) > 1 for names in self.classes], bool)

  def across_parts(self) -> np.ndarray:
    """Returns bool[n], which of them lie in several parts."""
    return np.array([len({*x} - {""}) > 1 for x in self.parts], bool)

  def images(self) -> int:
    """Returns how many images are in any of them."""
    return len({name for names in self.names for name in names})


@dataclasses.dataclass(frozen=True)
class Overview:
  """What looking at a user's images found.

  Attributes:
    new: the run that would be trained.
    listing: of all images.
    found: by decoding them.
    equal: sets of equal files.
    near: pairs that look alike; None: there are too many images to compare.
    data: the images that can be read, split; None if they cannot be.
    problem: why they cannot be, or ''.
    samples: label -> u8[m, side, side, 3], some images of each class.
    pairs: u8[m, 2, side, side, 3], some images that lie there twice, those
      with different labels first; names are in `pair_names`.
    pair_names: (name, class) of both images of each.
  """

  new: settings.Recommendation
  listing: Listing
  found: survey.Survey
  equal: Alike
  near: Alike | None
  data: SplitData | None
  problem: str
  samples: Mapping[str, np.ndarray]
  pairs: np.ndarray
  pair_names: tuple[tuple[tuple[str, str], ...], ...]

  def counts(self) -> dict[str, np.ndarray]:
    """Returns i64[classes] by name of a column, the images of every class.

    'images' is all that can be read; then the parts of the split, if it can be
    made.
    """
    number = len(self.new.facts.classes)
    labels = self.listing.labels[self.found.rows]
    if labels.ndim == 1:
      labels = labels[labels < number]
    counts = {"images": classes_lib.count(labels, number)}
    return counts | ({} if self.data is None else self.data.counts())

  def sizes(self) -> dict[str, np.ndarray]:
    """Returns f64[m] by name of what is measured of the readable images."""
    height, width = self.found.sizes.T.astype(np.float64)
    return {
      "height": height,
      "width": width,
      "short side": np.minimum(height, width),
      "long / short side": np.maximum(height, width)
      / np.minimum(height, width),
    }

  def formats(self) -> list[tuple[str, int]]:
    """Returns (format and mode, number of images), the most frequent first."""
    kinds = (f"{x.format} {x.mode}" for x in self.found.headers)
    return collections.Counter(kinds).most_common()

  def unreadable(self) -> list[tuple[str, str]]:
    """Returns (name, reason) of the images that cannot be read."""
    return packing.quarantine(self.listing, self.found.unreadable)

  def blank(self) -> int:
    """Returns how many images have too little contrast to look alike."""
    return int(self.found.fingerprints.blank.sum())

  def numbers(self) -> dict[str, Any]:
    """Returns all of it as values that JSON can hold."""
    new, config = self.new, self.new.config
    names = new.facts.classes
    counts = self.counts()
    return {
      "data": config.data.path,
      "images": len(self.listing),
      "bytes": int(self.found.num_bytes.sum()),
      "multi_label": new.facts.multi_label,
      "groups": new.facts.groups,
      "classes": {
        name: {key: int(column[i]) for key, column in counts.items()}
        for i, name in enumerate(names)
      },
      "sizes": {
        name: {
          "min": float(values.min()),
          "median": float(np.median(values)),
          "max": float(values.max()),
        }
        for name, values in self.sizes().items()
      },
      "formats": dict(self.formats()),
      "unreadable": self.unreadable(),
      "left_out": self.listing.passed_over,
      "notes": self.listing.notes,
      "equal": self.equal.names,
      "near": None if self.near is None else self.near.names,
      "blank": self.blank(),
      "split": {
        "kind": "" if self.data is None else self.data.kind,
        "sha256": "" if self.data is None else self.data.split.sha256,
        "notes": () if self.data is None else self.data.split.notes,
        "problem": self.problem,
      },
      "recommended": [
        {"fields": dict(choice.fields), "reason": choice.reason}
        for choice in new.choices
      ],
      "given": dict(new.given),
    }


def look(
  data: str, given: Mapping[str, Any], console: Console, *, samples: bool
) -> Overview:
  """Decodes and compares a user's images.

  Args:
    data: path of a folder, an archive or a table.
    given: 'section.field' -> value, which the user has fixed.
    console: shows the progress.
    samples: whether some images are kept, for a page.

  Raises:
    InputError: for data that cannot be used, or a field with a wrong value.
  """
  new = settings.recommended(data, given)
  weights, section = new.config.model.weights, new.config.data
  if not weights or locate.is_path(weights):  # others would be downloaded
    setup.check(new.config)
  with open_data.open_source(section) as source:
    with console.counting("decoding", "images") as progress:
      found = survey.survey(source, bits=section.bits, progress=progress)
    equal, near = survey.equal_files(found), None
    if len(found.rows) <= MOST_COMPARED:
      with console.counting("comparing", "images") as progress:
        near = survey.look_alikes(
          found,
          max_distance=duplicates.MAX_DISTANCE,
          min_correlation=duplicates.MIN_CORRELATION,
          progress=progress,
        )
    listing = source.listing
    split, problem = _split(new, listing, found)
    parts = _parts(len(listing), found.rows, split)
    shown, pairs = {}, ([], ())
    if samples:
      shown = _samples(new, source, found.rows)
      pairs = _pairs(new, source, [*equal, *([] if near is None else near)])
  return Overview(
    new=new,
    listing=listing,
    found=found,
    equal=_alike(listing, parts, equal),
    near=None if near is None else _alike(listing, parts, near),
    data=split,
    problem=problem,
    samples=shown,
    pairs=np.array(pairs[0], np.uint8),
    pair_names=tuple(pairs[1]),
  )


def _split(
  new: settings.Recommendation, listing: Listing, found: survey.Survey
) -> tuple[SplitData | None, str]:
  """Returns the split that would be trained on, or why there is none."""
  unreadable = packing.quarantine(listing, found.unreadable)
  most = new.config.data.max_unreadable
  try:
    packing.check_unreadable(unreadable, len(listing), most)
    packing.check_parts(listing, found.rows)
    data = split_data.divide(new.config.data, listing.take(found.rows))
    classes_lib.check(
      data.kind, data.classes, data.counts(), new.config.data.allow_missing
    )
  except InputError as error:
    return None, str(error)
  return data, ""


def _parts(total: int, rows: np.ndarray, data: SplitData | None) -> np.ndarray:
  """Returns str[total], the part of every image of a listing."""
  parts = np.full(total, "", f"U{max(map(len, PARTS))}")
  if data is not None:
    for part, places in data.split.parts.items():
      parts[rows[places]] = part
  return parts


def _alike(listing: Listing, parts: np.ndarray, sets: Any) -> Alike:
  return Alike(
    names=tuple(tuple(listing.names[rows].tolist()) for rows in sets),
    classes=tuple(
      tuple(_class_name(listing, row) for row in rows) for rows in sets
    ),
    parts=tuple(tuple(parts[rows].tolist()) for rows in sets),
  )


def _class_name(listing: Listing, row: int) -> str:
  return classes_lib.names_of(listing.classes, listing.labels[row])


def _samples(
  new: settings.Recommendation, source: ImageFiles, readable: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns some images of the first classes, spread over each."""
  listing, shown = source.listing, {}
  for label, name in enumerate(new.facts.classes[:_SAMPLED_CLASSES]):
    labels = listing.labels[readable]
    has = labels[:, label] == 1 if listing.multi_label else labels == label
    rows = readable[has]
    if not len(rows):
      continue
    places = np.linspace(0, len(rows) - 1, min(_SAMPLES, len(rows)))
    shown[name] = np.stack(
      [_read(new, source, row) for row in rows[places.round().astype(int)]]
    )
  return shown


def _pairs(
  new: settings.Recommendation, source: ImageFiles, sets: list[np.ndarray]
) -> tuple[list[np.ndarray], list[tuple[tuple[str, str], ...]]]:
  """Returns some pairs of images, those with different labels first."""
  listing = source.listing
  pairs = []
  for rows in sets:
    names = [_class_name(listing, row) for row in rows]
    other = next((i for i, name in enumerate(names) if name != names[0]), 0)
    pairs.append((not other, rows[0], rows[other or 1]))
  chosen = sorted(pairs, key=lambda pair: pair[0])[:_PAIRS]
  images = [
    np.stack([_read(new, source, row) for row in rows]) for _, *rows in chosen
  ]
  names = [
    tuple((str(listing.names[row]), _class_name(listing, row)) for row in rows)
    for _, *rows in chosen
  ]
  return images, names


def _read(
  new: settings.Recommendation, source: ImageFiles, row: int
) -> np.ndarray:
  """Returns u8[side, side, 3], an image as training would see it."""
  section = new.config.data
  image = source.read(int(row), bits=section.bits)
  return resizing.fit(image, size=_SAMPLE_SIDE, other_sizes=section.other_sizes)
