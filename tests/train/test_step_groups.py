"""Tests of an evaluation step that computes large images in groups."""

import numpy as np
import pytest

from mn_jax.train import step
from tests.train import test_step

pytestmark = pytest.mark.devices(4)


@pytest.mark.parametrize("devices", [1, 4])
def test_large_images_are_evaluated_in_groups(devices, monkeypatch):
  """On every device its own: the maps of a whole batch would be gigabytes."""

  def compiled():
    # Not the step of other tests, which was made without the change.
    test_step._make.cache_clear()
    state, _, evaluate, put = test_step.make(devices=devices)
    arguments = (state, put(batch))
    return evaluate.lower(*arguments).compile(), arguments

  images = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3))
  batch = {**test_step.make_batch(32), "image": images.astype(np.uint8)}
  grouped, arguments = compiled()
  with monkeypatch.context() as patch:
    patch.setattr(step.image_groups, "apply", lambda network, x: network(x))
    whole, same = compiled()
  test_step._make.cache_clear()
  assert "all-gather" not in "".join(
    line for line in grouped.as_text().splitlines() if "224" in line
  )
  sizes = [
    program.memory_analysis().temp_size_in_bytes for program in (grouped, whole)
  ]
  assert sizes[0] < sizes[1]
  results, expected = grouped(*arguments), whole(*same)
  for name in ("logits", "features", "loss"):
    np.testing.assert_allclose(results[name], expected[name], atol=1e-5)
  for name in ("label", "mask", "id"):
    np.testing.assert_array_equal(results[name], expected[name])
