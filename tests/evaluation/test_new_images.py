"""Tests of how runs read new images."""

import numpy as np

from mn_jax.config import files
from mn_jax.evaluation import new_images
from mn_jax.observe.console import Console
from mn_jax.run import reopen
from tests.evaluation import new_sample


def test_each_run_sees_new_images_in_its_own_stains(tmp_path):
  own, new = new_sample.write(tmp_path)
  read = new_images.Reader(new, {}, Console(quiet=True))
  seen = []
  for stains in ("none", "macenko", "none"):
    config = files.load_config(
      "idc_v1",
      [
        f"data.path={own}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"data.stain_normalisation={stains}",
      ],
    )
    run = reopen.SavedRun(
      tmp_path / stains, config, None, None, ("no_idc", "idc"), 0, {}, {}
    )
    seen.append(read(run))
  plain, normalised, again = seen
  assert again is plain
  names = [data.cache.names.tolist() for data in (plain, normalised)]
  assert names[0] == names[1]
  assert not np.array_equal(plain.cache.images, normalised.cache.images)
