"""A small IDC data set of the user's own, loaded as training does."""

import pathlib
from typing import Any

from mn_jax.config import files
from mn_jax.data.samples import patches
from mn_jax.run import split_data
from mn_jax.run.split_data import SplitData


def write(folder: pathlib.Path, *, patches_per_patient: int) -> None:
  """Writes patches of eight patients, which do not say that they are a sample.

  Args:
    folder: that the data set is written below.
    patches_per_patient: number of patches.
  """
  patches.write_sample(
    folder / "idc", num_patients=8, patches_per_patient=patches_per_patient
  )
  (folder / "idc" / "SAMPLE.json").unlink()


def load(folder: pathlib.Path, **changes: Any) -> SplitData:
  """Loads it by the config `idc_v1` and changed fields."""
  fields = {"data.path": folder / "idc", "data.cache_dir": folder / "cache"}
  made = [f"{name}={value}" for name, value in (fields | changes).items()]
  config = files.load_config("idc_v1", made)
  return split_data.load(config.data, lambda done, total: None)
