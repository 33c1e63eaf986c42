"""IDC breast-histopathology patches; splits are those of the published cases.

The patches of cases that are in none of the published lists are the split
`other`. A patient's patches are all in one split.
"""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from mn_jax.data import datasets
from mn_jax.tfds_builders import copies


class Idc(tfds.core.GeneratorBasedBuilder):
  """Builder of `idc`, version 1 on Kaggle."""

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = copies.instructions("idc")

  def _info(self) -> tfds.core.DatasetInfo:
    spec = datasets.get("idc")
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{spec.title}. {spec.origin}.",
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(None, None, 3)),
          "label": tfds.features.ClassLabel(names=spec.classes),
          "filename": tfds.features.Text(),
          "patient": tfds.features.Text(),
          # Where the patch was cut out of the slide, in pixels.
          "x": np.int32,
          "y": np.int32,
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://doi.org/10.1117/12.2043872",
      license=spec.licence,
    )

  def _split_generators(self, dl_manager):
    place = copies.find("idc", pathlib.Path(dl_manager.manual_dir))
    listing, parts = copies.list_by_part("idc", place)
    return {
      part: self._generate_examples(place, listing, rows)
      for part, rows in parts.items()
    }

  def _generate_examples(self, place, listing, rows):
    return copies.examples("idc", place, listing, rows)
