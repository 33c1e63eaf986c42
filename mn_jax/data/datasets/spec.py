"""What describes a data set."""

import dataclasses
import pathlib
from collections.abc import Callable

from mn_jax.data.datasets.source import Source
from mn_jax.data.files.archive import Files


@dataclasses.dataclass(frozen=True)
class Web:
  """A file that its publisher serves.

  Attributes:
    url: https.
    sha256: of the file, hex.
    size: bytes.
  """

  url: str
  sha256: str
  size: int


@dataclasses.dataclass(frozen=True)
class Tfds:
  """A data set of TensorFlow Datasets, and how its examples are named.

  Attributes:
    name: pinned, `name:version`.
    file: feature with the name of the image's file.
    suffix: added to that name, where it has none.
    parts: TFDS split -> publisher's part, which is the folder above the class;
      empty where the only split is no part.
    folders: folder of each class; empty: as TFDS names the classes.
  """

  name: str
  file: str
  suffix: str = ""
  parts: tuple[tuple[str, str], ...] = ()
  folders: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
  """A data set.

  Attributes:
    title: one line for people.
    classes: class names in the order of the labels; empty where the data
      itself tells.
    positive: the class that sensitivity, F1 and AUROC are about; None where
      no class is special.
    group: what `Listing.groups` holds: the unit that a split keeps together,
      in the singular; None where nothing is known of what belongs together, so
      that each image is a group of its own.
    image_size: height and width of its images in pixels; of larger ones those
      they are packed at unless a config says otherwise.
    other_sizes: what becomes of images of another size then; see
      `cache.open_or_build`.
    origin: where it was published.
    licence: as its publisher states it.
    open: reads the layout.
    images: number of images that the publisher states; 0 where that depends on
      the user.
    split: the kind of split that is honest for it; see `splits.Rule`.
    kaggle: pinned Kaggle handle, or None.
    web: where its publisher serves it, or None.
    tfds: how TensorFlow Datasets has it, or None.
    page: where people get what no program downloads, or None.
    case_lists: file of published group lists in this package, or None.
    slides: whether each group is one slide, on which `Listing.positions` are;
      elsewhere they are unknown, or within one of several regions of a slide.
    generate: writes the data set to a folder, for one that is not downloaded.
  """

  title: str
  classes: tuple[str, ...]
  positive: int | None
  group: str | None
  image_size: int
  origin: str
  licence: str
  open: Callable[[Files], Source]
  images: int
  split: str
  other_sizes: str = "resize"
  kaggle: str | None = None
  web: Web | None = None
  tfds: Tfds | None = None
  page: str | None = None
  case_lists: str | None = None
  slides: bool = False
  generate: Callable[[pathlib.Path], int] | None = None

  def sources(self) -> tuple[str, ...]:
    """Where `prepare` can get it, the way without TensorFlow first."""
    ways = {"web": self.web, "kaggle": self.kaggle, "tfds": self.tfds}
    return tuple(name for name, way in ways.items() if way is not None)
