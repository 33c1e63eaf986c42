"""ImageNet, ILSVRC 2012, as TensorFlow Datasets prepares it."""

from mn_jax.data.datasets import image_folder
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec, Tfds

SPEC = DatasetSpec(
  title="ImageNet, ILSVRC 2012: photographs of 1000 classes",
  classes=(),
  image_size=224,
  origin="Russakovsky et al. 2015",
  licence="non-commercial research, on request",
  open=of_files(image_folder.list_images),
  images=1_331_167,
  split="fixed",
  other_sizes="crop",
  # Its test labels are unpublished: the field tests on its validation part.
  tfds=Tfds(
    "imagenet2012:5.1.0",
    "file_name",
    parts=(("train", "train"), ("validation", "test")),
  ),
)
