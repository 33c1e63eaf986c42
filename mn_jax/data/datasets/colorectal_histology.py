"""Kather's tiles of colorectal cancer histology: `01_TUMOR/....tif` and so on.

A file is called `1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif`: the tile of
a region (022, not always named; of some a letter, `HE-01b`) of one of ten
slides (07), with the row and column in pixels where it was cut out.

Copies as PNG files under these names are read, too, and a note says so: they
may have been through another format or size. A tile as TIFF and as PNG is there
twice, which is refused.
"""

import dataclasses
import re

from mn_jax.data.datasets import class_folders
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec, Tfds, Web
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

CLASSES = (
  "tumor",
  "stroma",
  "complex",
  "lympho",
  "debris",
  "mucosa",
  "adipose",
  "empty",
)
FOLDERS = tuple(
  f"{number:02}_{name.upper()}" for number, name in enumerate(CLASSES, 1)
)
_FILE = re.compile(
  r"[0-9A-F]+_(CRC-Prim-HE-\d+)[a-z]?(?:_\w+)?\.tif_Row_(\d{1,9})_Col_(\d{1,9})\.tif",
  re.ASCII,
)


def _match(file: str) -> re.Match:
  match = _FILE.fullmatch(file)
  if not match:
    raise InputError(
      f"data.path: got a tile named {file!r}; valid: names like "
      "1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif, which tell the slide"
    )
  return match


def list_images(files: Files) -> Listing:
  """Lists the tiles of a folder or archive under their published names.

  Raises:
    InputError: if nothing fits, a class has no tile, a tile is there twice, or
      the name of a file in a class folder does not tell the slide.
  """
  listing = class_folders.list_images(
    files,
    CLASSES,
    folders=FOLDERS,
    name=lambda file: re.sub(r"\.png$", ".tif", file),
    group=lambda file: _match(file)[1],
    position=lambda file: (int(_match(file)[3]), int(_match(file)[2])),
    suffixes=(".tif", ".png"),
  )
  copies = sum(path.lower().endswith(".png") for path in listing.paths)
  if not copies:
    return listing
  note = (
    f"{copies:,} of {len(listing):,} tiles are PNG copies, whose pixels need "
    "not be those that were published"
  )
  return dataclasses.replace(listing, notes=(*listing.notes, note))


SPEC = DatasetSpec(
  title="Tissue types in colorectal cancer histology, 150x150 tiles",
  classes=CLASSES,
  group="slide",
  image_size=150,
  origin="Kather et al. 2016",
  licence="CC BY 4.0",
  open=of_files(list_images),
  images=5_000,
  split="kfold",
  web=Web(
    "https://zenodo.org/record/53169/files/"
    "Kather_texture_2016_image_tiles_5000.zip",
    # As TensorFlow Datasets 4.9.10 has it.
    "936d0b95ae0f04f1f7b18a2b7e8c55776c3e887d102f645bcee752d1a6626a32",
    258_098_431,
  ),
  tfds=Tfds("colorectal_histology:2.0.0", "filename", folders=FOLDERS),
)
