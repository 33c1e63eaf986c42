"""Data sets for users of TensorFlow Datasets: importing this registers them.

  import tensorflow_datasets as tfds
  import mn_jax.tfds_builders

  config = tfds.download.DownloadConfig(manual_dir="FOLDER_OF_THE_KAGGLE_COPY")
  builder = tfds.builder("idc", file_format="array_record")
  builder.download_and_prepare(download_config=config)
  source = builder.as_data_source("train")

In the format `array_record` this needs no TensorFlow.
"""

from mn_jax.tfds_builders.chest_xray import ChestXray
from mn_jax.tfds_builders.idc import Idc

__all__ = ["ChestXray", "Idc"]
