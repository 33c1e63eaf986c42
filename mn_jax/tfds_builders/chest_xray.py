"""Chest X-rays of children; the 16 images of `val` are in the split `train`."""

import pathlib

import tensorflow_datasets as tfds

from mn_jax.data import datasets
from mn_jax.tfds_builders import copies


class ChestXray(tfds.core.GeneratorBasedBuilder):
  """Builder of `chest_xray`, version 2 on Kaggle."""

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = copies.instructions("chest_xray")

  def _info(self) -> tfds.core.DatasetInfo:
    spec = datasets.get("chest_xray")
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{spec.title}. {spec.origin}.",
      features=tfds.features.FeaturesDict(
        {
          # Most files are grey; all are handed out as RGB.
          "image": tfds.features.Image(
            shape=(None, None, 3), encoding_format="jpeg"
          ),
          "label": tfds.features.ClassLabel(names=spec.classes),
          "filename": tfds.features.Text(),
          "person": tfds.features.Text(),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://doi.org/10.17632/rscbjbr9sj",
      license=spec.licence,
    )

  def _split_generators(self, dl_manager):
    place = copies.find("chest_xray", pathlib.Path(dl_manager.manual_dir))
    listing, parts = copies.list_by_part("chest_xray", place)
    return {
      part: self._generate_examples(place, listing, rows)
      for part, rows in parts.items()
    }

  def _generate_examples(self, place, listing, rows):
    for key, example in copies.examples("chest_xray", place, listing, rows):
      yield key, {name: example[name] for name in self.info.features}
