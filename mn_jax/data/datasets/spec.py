"""The description of a data set: classes, licence, layout, where to get it."""

import dataclasses
import pathlib
from collections.abc import Callable

from mn_jax.data.datasets.source import Source


@dataclasses.dataclass(frozen=True)
class Web:
  """A file that the publisher of a data set serves.

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
  """The description of a data set.

  Attributes:
    title: one line.
    classes: class names in the order of the labels; empty where the folders
      name them.
    image_size: height and width that images are packed at by default, in
      pixels.
    origin: where it was published.
    licence: as its publisher states it.
    open: lists and opens its images in a folder or archive; gets the names of
      its classes too where the folders name them.
    images: number of images that the publisher states; 0 where that depends on
      the user.
    split: default kind of split; see `data.split`.
    positive: the class that sensitivity, F1 and AUROC are about; None where
      no class is special.
    group: name of the unit that a split keeps together, such as 'patient', of
      which `Listing.groups` has the ids; None where nothing is known of which
      images belong together.
    other_sizes: what becomes of images of other sizes when they are packed:
      'resize', 'crop' or 'drop'.
    kaggle: pinned Kaggle handle, or None.
    web: the file that its publisher serves, or None.
    tfds: how TensorFlow Datasets has it, or None.
    page: page of a download by hand, or None.
    part_lists: returns the groups of each published part, where they are lists
      beside the images; None where there are no such lists.
    tables: whether its images may be listed in a table.
    slides: whether each group is one slide and `Listing.positions` lie on it.
    generate: writes the data set to a folder, for one that is not downloaded.
  """

  title: str
  classes: tuple[str, ...]
  image_size: int
  origin: str
  licence: str
  open: Callable[..., Source]
  images: int
  split: str
  positive: int | None = None
  group: str | None = None
  other_sizes: str = "resize"
  kaggle: str | None = None
  web: Web | None = None
  tfds: Tfds | None = None
  page: str | None = None
  part_lists: Callable[[], dict[str, list[str]]] | None = None
  tables: bool = False
  slides: bool = False
  generate: Callable[[pathlib.Path], None] | None = None

  def sources(self) -> tuple[str, ...]:
    """Returns the names of its sources, those without TensorFlow first."""
    ways = {"web": self.web, "kaggle": self.kaggle, "tfds": self.tfds}
    return tuple(name for name, way in ways.items() if way is not None)
