"""Small folders as TensorFlow Datasets prepares them, written without it."""

import pathlib

import tensorflow_datasets as tfds

from mn_jax.data.datasets.spec import Tfds

# (name of the file, label, encoded image)
Rows = list[tuple[str, int, bytes]]


def write(
  root: pathlib.Path,
  layout: Tfds,
  splits: dict[str, Rows],
  classes: tuple[str, ...],
  *,
  features: dict | None = None,
) -> pathlib.Path:
  """Prepares `splits` as the data set of `layout`; returns its folder.

  Args:
    root: TFDS's data_dir.
    layout: `name[/config]:version` and the feature with the file's name.
    splits: what they hold.
    classes: names of the labels.
    features: in place of those that `layout` expects.
  """
  full, _, version = layout.name.partition(":")
  name, _, config = full.partition("/")
  features = features or {
    "image": tfds.features.Image(shape=(None, None, 3)),
    "label": tfds.features.ClassLabel(names=classes),
    layout.file: tfds.features.Text(),
  }

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _examples(self, split):
    for row, values in enumerate(splits[split]):
      file, label, image = values
      example = {"image": image, "label": label, layout.file: file}
      yield row, {key: example[key] for key in features}

  def _split_generators(self, _):
    return {split: self._generate_examples(split) for split in splits}

  members = {
    "name": name,
    "VERSION": tfds.core.Version(version),
    "_info": _info,
    "_split_generators": _split_generators,
    "_generate_examples": _examples,
  }
  if config:
    members["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=config)]
  with tfds.core.registered.skip_registration():
    toy = type("Toy", (tfds.core.GeneratorBasedBuilder,), members)
  builder = toy(data_dir=root, file_format="array_record")
  builder.download_and_prepare()
  return pathlib.Path(builder.data_path)
