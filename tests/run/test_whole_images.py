"""Runs that crop from whole images and are evaluated at another size."""

import functools

import numpy as np
import pytest

from mn_jax.config import checks, files
from mn_jax.data import resizing
from mn_jax.errors import InputError
from mn_jax.metrics import classification
from mn_jax.run import network as network_lib
from mn_jax.run import reopen
from tests import toy_transfer as toy

# As in the tests of the predictor: Orbax's other reads end later.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)

# Evaluated at 20 pixels, which are resized to the network's 18.
_WHOLE = {
  "data.image_size": 20,
  "data.other_sizes": "crop",
  "data.crop_share": 0.8,
  "data.short_side": 25,
  "model.resolution": 18,
  "model.train_resolution": 16,
  "augment.crop_scale": 0.3,
  "augment.repeats": 2,
}
load = functools.partial(toy.load, base={**toy.QUICK, **_WHOLE})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(workdir, summary) of a run of six steps."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  return workdir, toy.run(load(), workdir)[0]


def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path):
  for stop_at in (1, 4):
    assert toy.run(load(), tmp_path / "run", stop_at=stop_at)[0] is None
  summary, _ = toy.run(load(), tmp_path / "run")
  for name in ("state_sha256", "test/loss", "best_step"):
    assert summary[name] == finished[1][name]
  assert toy.logged(tmp_path / "run") == toy.logged(finished[0])


def test_a_reopened_run_sees_the_middle_as_evaluation_did(finished):
  workdir, summary = finished
  opened = reopen.open_run(workdir)
  data = opened.data(toy.ignore_progress)
  rows = data.part("test")
  assert data.cache.images.shape[1:] == (20, 20, 3)
  predicted = opened.predict(data, rows)
  metrics = classification.summarize(predicted, positive=data.spec.positive)
  assert metrics["loss"] == pytest.approx(summary["test/loss"], rel=1e-5)
  image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
  expected = resizing.resize_and_crop(image, 20, share=0.8)
  np.testing.assert_array_equal(opened.fit_image(image), expected)


def _refused(match, **fields):
  config = files.read_config("idc_v1:test")
  config.update_from_flattened_dict({**toy.QUICK, **_WHOLE, **fields})
  with pytest.raises(InputError, match=match):
    checks.from_config_dict(config)


def test_settings_that_whole_images_do_not_allow_are_refused():
  _refused(
    r"data\.crop_share: got 0.8 with data\.other_sizes 'resize'",
    **{"data.other_sizes": "resize", "data.short_side": 0},
  )
  _refused(
    r"data\.short_side: got 25 with data\.other_sizes 'drop'",
    **{"data.other_sizes": "drop", "data.crop_share": 1.0},
  )
  _refused(
    r"data\.placement: got 'device' with data\.short_side",
    **{"data.placement": "device"},
  )
  for name, value in (("stain_normalisation", "macenko"), ("context", 1)):
    _refused(
      rf"data\.{name}: got {value!r} with data\.short_side 25",
      **{f"data.{name}": value},
    )
  _refused(
    r"augment\.crop_scale: got 1 with data\.short_side",
    **{"augment.crop_scale": 1.0},
  )
  _refused(
    r"augment\.repeats: got 3; valid: a divisor of train\.batch_size, 32",
    **{"augment.repeats": 3},
  )
  _refused(
    r"augment\.repeats: got 32 .* mixed with themselves",
    **{"augment.repeats": 32, "augment.mixup": 0.2},
  )


def test_a_head_of_one_size_cannot_be_trained_at_another():
  config = load(model__head="flatten_4096_1024")
  with pytest.raises(
    InputError, match=r"model\.train_resolution: got 16 .*valid: 0 or 18"
  ):
    network_lib.check(config)
