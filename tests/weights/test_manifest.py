"""The list of published weights agrees with itself, the networks and the page.

Names, addresses and md5 were taken from the source of Keras Applications.
"""

import json
import pathlib
import re

import pytest

from mn_jax.data.acquire import download
from mn_jax.errors import InputError
from mn_jax.models import counting, registry
from mn_jax.weights import manifest

_WEIGHTS = manifest.load()
_FILES = [f for w in _WEIGHTS.values() for f in (w.top, w.no_top)]
_ROOT = pathlib.Path(__file__).parents[2]


def test_every_file_has_its_own_name_and_address():
  assert len({file.name for file in _FILES}) == len(_FILES)
  assert len({file.url for file in _FILES}) == len(_FILES)
  for file in _FILES:
    assert re.fullmatch(
      r"https://storage\.googleapis\.com/tensorflow/keras-applications/"
      rf"[\w]+/{re.escape(file.name)}",
      file.url,
    )
    assert file.name.endswith(".h5")


def test_checksums_are_unique_and_missing_in_two_families():
  stated = [file.md5 for file in _FILES if file.md5 is not None]
  assert len(set(stated)) == len(stated) == 24
  for md5 in stated:
    download.check_hash(f"md5:{md5}")
  without = {w.network for w in _WEIGHTS.values() if w.top.md5 is None}
  assert without == {"mobilenet_v1", "mobilenet_v2"}
  for weights in _WEIGHTS.values():
    assert (weights.top.md5 is None) == (weights.no_top.md5 is None)


def test_a_name_tells_network_and_variant():
  for weights in _WEIGHTS.values():
    assert weights.name.startswith(weights.network)
    if "width" in weights.options and not weights.options.get("minimalistic"):
      assert str(weights.options["width"]) in weights.name.split("_")
    assert weights.licence or "No statement" in weights.licence_note


# One of each network: the others take as long and tell little more.
_DISTINCT = {w.network: w for w in _WEIGHTS.values()}


@pytest.mark.parametrize(
  "weights",
  [
    pytest.param(
      weights,
      id=weights.name,
      marks=pytest.mark.extended
      if network in ("resnet152", "inception_resnet_v2")
      else [],
    )
    for network, weights in _DISTINCT.items()
  ],
)
def test_parameters_are_those_of_the_network(weights):
  options = dict(weights.options)
  width = options.pop("width", 1.0)
  network = registry.describe(
    weights.network,
    num_classes=1000,
    width=width,
    options=registry.Options(**options),
  )
  layers = counting.list_layers(registry.build(network), 224)
  backbone = [layer for layer in layers if layer.path.startswith("backbone/")]

  def count(layers):
    stats = sum(layer.stats for layer in layers)
    # Keras's ResNets have a bias before every BatchNorm: half as many values
    # as it has statistics.
    biases = stats // 2 if weights.network.startswith("resnet") else 0
    return sum(layer.params for layer in layers) + stats + biases

  assert weights.top.parameters == count(layers)
  assert weights.no_top.parameters == count(backbone)


def test_third_party_lists_the_same_families_and_licences():
  package = json.loads(
    (_ROOT / "mn_jax" / "weights" / "manifest.json").read_text()
  )
  third = json.loads((_ROOT / "third_party" / "manifest.json").read_text())
  listed = {
    artefact["name"].removeprefix("keras_"): (
      artefact["licence"],
      artefact["licence_note"],
      artefact["origin"],
    )
    for artefact in third["artefacts"]
    if artefact["kind"] == "weights"
  }
  assert listed == {
    name: (family["licence"], family["licence_note"], family["origin"])
    for name, family in package["families"].items()
  }


def test_unknown_name_is_answered_in_one_line():
  with pytest.raises(InputError, match=r"got 'resnet51'; valid: what .*"):
    manifest.get("resnet51")
