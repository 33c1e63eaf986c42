"""Real images that are strange to real features (beside the checkout)."""

import zipfile

import numpy as np
import pytest
import sklearn.metrics

from mn_jax.deploy import predictor, trained
from mn_jax.metrics import out_of_distribution
from mn_jax.models import registry

pytestmark = [
  pytest.mark.extended,
  pytest.mark.usefixtures("standard_promotion"),
]


def images(path, count, suffixes):
  """Images spread over an archive, as files."""
  with zipfile.ZipFile(path) as archive:
    names = [x for x in archive.namelist() if x.endswith(suffixes)]
    places = np.linspace(0, len(names) - 1, count).round().astype(int)
    return [archive.read(names[place]) for place in places]


def test_x_rays_are_strange_among_satellite_images(shared_data, shared_weights):
  """With ImageNet's features; measured: 0.99 or more."""
  network = registry.describe("mobilenet_v3_small", num_classes=1000)
  path = str(shared_weights / "mobilenet_v3_small_224_tf.h5")
  chosen = predictor.fold(trained.from_weights(path, network))

  def features(name, count, suffixes):
    files = images(shared_data / name, count, suffixes)
    return chosen.features(chosen.read_image(data) for data in files)

  tiles = features("EuroSAT.zip", 400, ".jpg")
  x_rays = features("chest-xray-pneumonia.zip", 100, (".jpeg", ".jpg", ".png"))
  training, new = tiles[::2], tiles[1::2]
  mean, spread = out_of_distribution.moments(training)
  reference = (training - mean) / spread
  scores = [
    out_of_distribution.Neighbours(reference).distances((x - mean) / spread)
    for x in (new, x_rays)
  ]
  found = sklearn.metrics.roc_auc_score(
    np.repeat([0, 1], [len(new), len(x_rays)]), np.concatenate(scores)
  )
  print(f"AUROC {found:.3f}")
  assert found > 0.97
