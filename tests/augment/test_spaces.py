"""Tests of RandAugment's and TrivialAugment's published spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.augment import operations, pipeline, spaces
from mn_jax.config import checks, default
from mn_jax.config.sections.augment import AugmentConfig
from mn_jax.errors import InputError

_COUNT = 4000


def _config(space: str, **values) -> AugmentConfig:
  return AugmentConfig(randaugment_space=space, **{"randaugment": 2, **values})


def _draw(space: str, **values):
  drawn = spaces.draw(
    jax.random.key(0), _COUNT, _config(space, **values), size=(200, 100)
  )
  return {name: tuple(map(np.asarray, pair)) for name, pair in drawn.items()}


@pytest.mark.parametrize(
  ("space", "magnitude", "expected"),
  [
    # timm 1.0, data/auto_augment.py, by hand.
    (
      "timm",
      9.0,
      {
        "rotate": 27,
        "shear_x": 0.27,
        "translate_x": 40.5,
        "translate_y": 81,
        "posterize": 3,
        "solarize": 230,
        "solarize_add": 99,
        "color": 1.72,
        "sharpness": 1.72,
      },
    ),
    (
      "timm_inc1",
      9.0,
      {"posterize": 1, "solarize": 26, "solarize_add": 99, "rotate": 27},
    ),
    # big_vision, pp/autoaugment.py: magnitudes above 10 are not clipped.
    (
      "big_vision",
      15.0,
      {
        "rotate": 45,
        "translate_x": 150,
        "posterize": 6,
        "solarize": 384,
        "brightness": 2.8,
        "cutout": 60,
      },
    ),
    # Model Garden, configs/common.py: RandAugment.translate_const is 10.
    ("mobilenet_v4_small", 9.0, {"translate_x": 18, "translate_y": 18}),
    ("mobilenet_v4_medium", 15.0, {"translate_x": 15, "rotate": 45}),
  ],
)
def test_arguments_are_those_of_the_source(space, magnitude, expected):
  drawn = _draw(space, randaugment_magnitude=magnitude)
  for name, argument in expected.items():
    np.testing.assert_allclose(np.abs(drawn[name][1]), argument, rtol=1e-5)
  for name in ("rotate", "shear_y", "translate_x"):
    assert 0.45 < (drawn[name][1] > 0).mean() < 0.55


def test_increasing_factors_go_both_ways():
  _, factor = _draw("timm_inc1", randaugment_magnitude=5.0)["color"]
  np.testing.assert_allclose(np.unique(factor), [0.55, 1.45], rtol=1e-6)


def test_trivial_augment_draws_31_magnitudes():
  drawn = _draw("trivial_wide", randaugment=1)
  assert len(drawn) == 14
  angles = np.unique(np.abs(drawn["rotate"][1]).round(3))
  np.testing.assert_allclose(angles, np.linspace(0, 135, 31), atol=1e-3)
  assert set(drawn["posterize"][1].tolist()) == {2, 3, 4, 5, 6, 7, 8}
  factors = drawn["contrast"][1]
  assert factors.min() == pytest.approx(0.01, abs=1e-6)
  assert factors.max() == pytest.approx(1.99)
  applied = np.stack([on for on, _ in drawn.values()])
  assert (applied.sum(0) == 1).all()
  assert np.abs(applied.mean(1) - 1 / 14).max() < 0.02


def test_operations_are_drawn_with_replacement_and_a_probability():
  drawn = _draw("timm", randaugment_probability=0.5)
  applied = np.stack([on for on, _ in drawn.values()])
  count = len(drawn)
  assert count == 15
  # One of two draws is this operation, and is applied.
  expected = 1 - (1 - 0.5 / count) ** 2
  assert np.abs(applied.mean(1) - expected).max() < 0.015
  # None of the two is applied.
  assert abs((applied.sum(0) == 0).mean() - 0.25) < 0.03


def test_magnitudes_have_a_deviation_and_an_end():
  _, angle = _draw("timm", randaugment_std=0.5)["rotate"]
  magnitude = np.abs(angle) / 3
  assert abs(np.median(magnitude) - 9) < 0.05
  assert 0.35 < magnitude.std() < 0.5  # clipped at 10
  assert magnitude.max() == pytest.approx(10)
  _, angle = _draw("timm", randaugment_std=101.0)["rotate"]
  magnitude = np.abs(angle) / 3
  assert abs(magnitude.mean() - 4.5) < 0.15
  assert magnitude.max() < 9
  values = {"randaugment_magnitude": 20.0, "randaugment_std": 101.0}
  _, angle = _draw("timm", **values)["rotate"]
  assert np.abs(angle).max() == pytest.approx(30)


def test_applied_operations_are_those_that_were_drawn():
  draw = np.random.default_rng(0)
  images = jnp.array(draw.integers(0, 256, (64, 12, 12, 3)), jnp.float32)
  config, key = _config("trivial_wide", randaugment=1), jax.random.key(3)
  out = np.asarray(spaces.apply(images, key, config))
  drawn = spaces.draw(
    jax.random.split(key)[0], len(images), config, size=(12, 12)
  )
  for name in ("identity", "brightness", "solarize"):
    on, argument = drawn[name]
    operation = operations.COLOURS.get(name, lambda x, _: x)
    expected = np.asarray(operation(images, argument))
    assert on.any()
    np.testing.assert_array_equal(out[on], expected[on])
  np.testing.assert_array_equal(out, np.round(out))
  assert (out.min(), out.max()) == (0, 255)


def test_the_pipeline_has_other_spaces_too():
  images = jnp.arange(2 * 8 * 8 * 3, dtype=jnp.uint8).reshape(2, 8, 8, 3)
  config, key = _config("timm"), jax.random.key(1)
  out = pipeline.augment(images, key, config)
  choice_key = jax.random.split(key, 11)[9]
  expected = spaces.apply(images.astype(jnp.float32), choice_key, config)
  np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
  ("field", "value"),
  [("magnitude", 15.0), ("std", 0.5), ("probability", 0.5)],
)
def test_own_operations_refuse_what_they_do_not_have(field, value):
  config = default()
  config.train.epochs = 1.0
  config.augment[f"randaugment_{field}"] = value
  with pytest.raises(InputError, match=rf"augment\.randaugment_{field}: got"):
    checks.from_config_dict(config)
  config.augment.randaugment_space = "big_vision"
  checks.from_config_dict(config)
