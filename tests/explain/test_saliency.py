"""Maps of saliency: exact on linear networks, sane on others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mn_jax.explain import saliency
from mn_jax.models import layers, registry, variables
from mn_jax.models.classifier import Classifier, Head, HeadSpec

SIZE = 8  # of the images of linear networks
SMALL = 32  # of those of a small network, whose last map is then 2 x 2
# Fewer than usual: each costs a pass of a network that is not optimised.
SETTINGS = saliency.Settings(samples=4, steps=8)
PLAIN = registry.Conventions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Nothing(nn.Module):
  """A backbone whose only map is its input."""

  @nn.compact
  def __call__(self, x, train):
    return x, {"input": x}


def linear_network(classes=3):
  """(module, variables): every logit is a weighted sum of all pixels."""
  module = Classifier(
    backbone=Nothing(),
    head=Head(classes, HeadSpec(pool=False), 0.0, layers.BatchNorm),
  )
  return module, variables.initial_values(module, SIZE, seed=3)


def kernel(values):
  """f32[h, w, 3, classes] of the linear network."""
  made = values["params"]["head"]["logits"]["kernel"]
  return made.reshape(SIZE, SIZE, 3, -1)


def make_images(count=3, size=SIZE):
  shape = (count, size, size, 3)
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


NETWORK = registry.describe("simple_cnn", num_classes=4, width=0.25)


def explain_network(settings=SETTINGS):
  return saliency.Explainer(
    registry.build(NETWORK),
    NETWORK.conventions,
    resolution=0,
    settings=settings,
  )


def random_values(seed=0, size=SMALL):
  return variables.initial_values(registry.build(NETWORK), size, seed=seed)


@pytest.fixture(scope="module")
def explainer():
  return explain_network()


@pytest.fixture(scope="module")
def values():
  return random_values()


def test_the_gradient_of_a_linear_network_is_its_kernel():
  module, values = linear_network()
  explainer = saliency.Explainer(module, PLAIN, resolution=0)
  classes = np.array([2, 0, 1])
  found = explainer.explain("gradient", values, make_images(), classes)
  expected = np.abs(kernel(values)).max(axis=2).transpose(2, 0, 1)[classes]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  # Noise changes no derivative that is the same everywhere.
  smooth = explainer.explain("smooth_grad", values, make_images(), classes)
  np.testing.assert_allclose(smooth, expected, rtol=1e-5)


def test_integrated_gradients_of_a_linear_network_are_its_terms():
  module, values = linear_network()
  settings = saliency.Settings(steps=3, baseline=127.5)  # is 0 to the network
  explainer = saliency.Explainer(module, PLAIN, resolution=0, settings=settings)
  images = make_images()
  classes = np.array([1, 1, 0])
  found = explainer.explain("integrated_gradients", values, images, classes)
  weights = kernel(values)[..., classes].transpose(3, 0, 1, 2)
  x = images.astype(np.float32) / 127.5 - 1
  np.testing.assert_allclose(found, (x * weights).sum(axis=3), atol=1e-6)
  assert (found < 0).any()


def test_grad_cam_of_a_linear_score_is_its_formula():
  rng = np.random.default_rng(0)
  maps = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
  weights = rng.normal(size=4).astype(np.float32)
  found = saliency.grad_cam(
    lambda maps: (maps * weights.reshape(1, 1, 1, 4)).sum(axis=(1, 2, 3)),
    jnp.asarray(maps),
    (3, 5),
  )
  np.testing.assert_allclose(found, np.maximum(maps @ weights, 0), atol=1e-5)


def test_grad_cam_before_a_mean_is_what_each_pixel_adds():
  """Zhou et al. 2016: with a pooled linear head it is the class's own map."""
  module = Classifier(
    backbone=Nothing(), head=Head(2, HeadSpec(pool=True), 0.0, layers.BatchNorm)
  )
  values = variables.initial_values(module, SIZE, seed=0)
  images, classes = make_images(), np.array([0, 1, 1])
  explainer = saliency.Explainer(module, PLAIN, resolution=0)
  found = explainer.explain("grad_cam", values, images, classes)
  x = images.astype(np.float32) / 127.5 - 1
  adds = x @ values["params"]["head"]["logits"]["kernel"] / SIZE**2
  expected = np.take_along_axis(adds, classes[:, None, None, None], axis=3)
  np.testing.assert_allclose(found, expected[..., 0].clip(min=0), atol=1e-6)


def test_grad_cam_keeps_left_and_right():
  """A channel that is active in one corner marks that corner."""
  maps = np.zeros((1, 2, 2, 1), np.float32)
  maps[0, 0, 1] = 1
  found = saliency.grad_cam(
    lambda maps: maps.sum(axis=(1, 2, 3)), jnp.asarray(maps), (8, 8)
  )
  row, column = np.unravel_index(np.argmax(found[0]), (8, 8))
  assert row < 3
  assert column > 4


def test_integrated_gradients_are_complete():
  """Their sum is the difference of logits, within 2 % of it.

  That is the error of an integral over 256 points of a function with kinks.
  """
  explainer = explain_network(saliency.Settings(steps=256))
  values = random_values(size=16)
  images, classes = make_images(3, 16), np.array([0, 1, 2])
  maps = explainer.explain("integrated_gradients", values, images, classes)
  rise = explainer.logits(values, images)
  rise = rise - explainer.logits(values, np.zeros_like(images))
  rise = rise[np.arange(3), classes]
  np.testing.assert_allclose(
    explainer.score_difference(values, images, classes), rise, atol=1e-6
  )
  assert np.abs(rise).min() > 1e-3
  np.testing.assert_allclose(maps.sum(axis=(1, 2)), rise, rtol=0.02)


@pytest.mark.parametrize("method", saliency.METHODS)
def test_maps_of_a_method_are_sane(method, explainer, values):
  """Adebayo et al. 2018: they depend on the parameters. Blank images too."""
  others = random_values(seed=1)
  # Smooth images, whose edges a mere edge detector would find both times.
  shape = (3, SMALL, SMALL, 3)
  images = np.asarray(
    jax.image.resize(make_images(3, 6).astype("f4"), shape, "cubic")
  )
  images = images.clip(0, 255).astype(np.uint8)
  classes = np.arange(3)
  found, other = (
    explainer.explain(method, v, images, classes) for v in (values, others)
  )
  correlation = scipy.stats.spearmanr(
    np.abs(found).ravel(), np.abs(other).ravel()
  ).statistic
  assert correlation < 0.5
  blank = np.stack(
    [np.full((SMALL, SMALL, 3), grey, np.uint8) for grey in (0, 128, 255)]
  )
  found = explainer.explain(method, values, blank, np.array([0, 1, 2]))
  assert found.shape == (3, SMALL, SMALL)
  assert found.dtype == np.float32
  assert np.isfinite(found).all()
  if method == "integrated_gradients":
    assert np.abs(found[0]).max() < 1e-8  # it is the baseline
    assert np.abs(found[2]).max() > 1e-5
  else:
    assert found.min() >= 0


def test_maps_are_of_the_networks_resolution():
  module, values = linear_network()
  explainer = saliency.Explainer(
    module, PLAIN, resolution=SIZE, settings=SETTINGS
  )
  for method in saliency.METHODS:
    found = explainer.explain(
      method, values, make_images(2, 20), np.array([0, 1])
    )
    assert found.shape == (2, SIZE, SIZE)


def test_smooth_grad_is_the_mean_over_noise_from_its_seed():
  x = jnp.asarray(make_images().astype(np.float32) / 255)
  coefficients = np.linspace(1, 2, x[0].size, dtype=np.float32)
  coefficients = coefficients.reshape(1, *x.shape[1:])

  def explain(seed, samples=200):
    return saliency.smooth_grad(
      lambda x: (coefficients * x**2).sum(axis=(1, 2, 3)),
      x,
      samples=samples,
      noise=0.1,
      seed=seed,
    )

  np.testing.assert_array_equal(explain(0), explain(0))
  assert np.abs(explain(0) - explain(1)).max() > 1e-3
  # The derivative is linear, so the noise averages out: that of one sample
  # deviates by 0.4 at most, so the mean of 200 by 0.028; 0.15 is five of these.
  expected = (2 * coefficients * x).max(axis=3)
  np.testing.assert_allclose(explain(0), expected, atol=0.15)
  assert np.abs(explain(0, samples=1) - expected).max() > 0.3


def test_images_of_a_batch_do_not_matter_to_each_other(explainer, values):
  images, classes = make_images(3, SMALL), np.array([0, 1, 2])
  whole = explainer.explain("grad_cam", values, images, classes)
  again = explainer.explain("grad_cam", values, images[::-1], classes[::-1])
  np.testing.assert_allclose(whole, again[::-1], atol=1e-6)
  with pytest.raises(ValueError, match="method: got 'magic'; valid: gradient"):
    explainer.explain("magic", values, images, classes)
