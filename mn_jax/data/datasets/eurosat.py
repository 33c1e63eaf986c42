"""The layout of EuroSAT RGB: `2750/<Class>/<Class>_<n>.jpg`.

Its authors published no split. The parts of `data.split=fixed` are TorchGeo's
spatial split, made by longitude: 16,200 tiles for training, 5,400 for
validation and 5,400 for the test. A tile's neighbours are mostly in its own
part, and the parts differ in their shares of classes.
"""

import functools

from mn_jax.data.datasets import class_folders, part_lists
from mn_jax.data.datasets.spec import DatasetSpec, Tfds

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


SPEC = DatasetSpec(
  title="EuroSAT RGB: land use and cover in Sentinel-2 tiles, 64x64",
  classes=CLASSES,
  image_size=64,
  origin="Helber et al. 2019",
  licence="MIT, as stated by its authors",
  # Archives of all 13 bands have these as .tif beside the .jpg.
  open=class_folders.opener(CLASSES, suffixes=(".jpg",)),
  images=27_000,
  split="stratified",
  tfds=Tfds("eurosat/rgb:2.0.0", "filename"),
  page="https://zenodo.org/records/7711810",
  part_lists=functools.partial(
    part_lists.of_numbers, "eurosat_spatial_split.json"
  ),
)
