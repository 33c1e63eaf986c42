"""The layout of EuroSAT RGB: `2750/<Class>/<Class>_<n>.jpg`."""

from mn_jax.data.datasets import class_folders
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec, Tfds
from mn_jax.data.files.archive import Files

CLASSES = (
  "AnnualCrop",
  "Forest",
  "HerbaceousVegetation",
  "Highway",
  "Industrial",
  "Pasture",
  "PermanentCrop",
  "Residential",
  "River",
  "SeaLake",
)


def list_images(files: Files) -> Listing:
  """Lists the tiles of a folder or archive, in order of class and name.

  Archives of all 13 bands have these as .tif beside the .jpg, which alone are
  listed.

  Raises:
    InputError: as `class_folders.list_images` does.
  """
  return class_folders.list_images(files, CLASSES, suffixes=(".jpg",))


SPEC = DatasetSpec(
  title="EuroSAT RGB: land use and cover in Sentinel-2 tiles, 64x64",
  classes=CLASSES,
  positive=None,
  group=None,
  image_size=64,
  origin="Helber et al. 2019",
  licence="MIT, as stated by its authors",
  open=of_files(list_images),
  images=27_000,
  split="stratified",
  tfds=Tfds("eurosat/rgb:2.0.0", "filename"),
  page="https://zenodo.org/records/7711810",
)
