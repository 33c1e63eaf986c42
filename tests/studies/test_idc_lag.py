"""The prediction that configs/studies/idc_lag.py states, computed again."""

import math
import re

import jax
import numpy as np
import pytest
from PIL import Image

from configs.studies import idc_lag
from mn_jax.augment import inputs
from mn_jax.config import files
from mn_jax.data.samples import patches
from mn_jax.models import variables
from mn_jax.run import network, recalibrate

_TABLE = r"r +(e\^-5.*)\n +(1 %.*)\n"


def _spreads(model: str, images: np.ndarray, times: list[float]) -> np.ndarray:
  """Spread of the logits with e^-t of the initial statistics, to that of none.

  Returns:
    f64[times], the standard deviation over images of the logits' difference.
  """
  config = files.load_config(f"configs/{model}.py:source")
  described = network.describe(config, 2)
  module, _ = network.make_module(config, described, num_devices=1)
  size = images.shape[1]
  start = variables.initial_values(module, size, seed=0)
  batch = recalibrate.batch_statistics(
    module, described.conventions, start, [images], resolution=0
  )
  x = inputs.to_input(
    images,
    resolution=0,
    mean=described.conventions.mean,
    std=described.conventions.std,
  )
  apply = jax.jit(lambda variables: module.apply(variables, x, False)[0])

  def spread(share: float) -> float:
    mixed = jax.tree.map(
      lambda first, last: share * first + (1 - share) * last,
      start["batch_stats"],
      batch["batch_stats"],
    )
    logits = np.asarray(
      apply({"params": start["params"], "batch_stats": mixed}), np.float64
    )
    return np.std(logits[:, 1] - logits[:, 0])

  full = spread(0.0)
  return np.array([spread(math.exp(-t)) / full for t in times])


@pytest.mark.extended
def test_the_share_of_initial_statistics_that_hides_the_logits(tmp_path):
  patches.write_sample(tmp_path / "idc", num_patients=8, patches_per_patient=16)
  images = np.stack(
    [np.asarray(Image.open(p)) for p in sorted(tmp_path.rglob("*.png"))]
  )
  assert len(images) == 128
  found = re.search(_TABLE, idc_lag.__doc__)
  times = [float(t) for t in re.findall(r"e\^-(\d+)", found[1])]
  stated = [float(p) / 100 for p in re.findall(r"(\d+) %", found[2])]
  assert len(times) == len(stated) == 7
  for model, part in (("idc_v2", 128), ("idc_v2", 16), ("idc_v1", 128)):
    # Of other patches and another seed than the stated; V1 is much alike.
    spreads = _spreads(model, images[:part], times)
    assert np.all(np.diff(spreads) > 0), model
    np.testing.assert_allclose(spreads, stated, atol=0.2, err_msg=model)
    assert spreads[0] < 0.05
    assert 7 < np.interp(0.5, spreads, times) < 9
    assert spreads[-1] > 0.85
