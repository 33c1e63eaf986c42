"""Tests of MobileNetV2."""

from tests.models import networks

# By width: parameters with running means and variances, 1000 classes, of Keras
# Applications; millions of mult-adds at 224 px in the table of TF-slim's
# README.
_PUBLISHED = {
  1.4: (6_156_712, 582),
  0.35: (1_691_208, 59),
}


def _build(classes=3, width=0.25):
  return networks.build("mobilenet_v2", classes, width)


def test_parameters_and_mult_adds_are_the_published_ones():
  for width, expected in _PUBLISHED.items():
    layers = networks.layers(_build(1000, width), 224)
    millions = round(networks.macs(layers) / 1e6)
    assert (sum(networks.count(layers)), millions) == expected, width


def test_feature_maps():
  size = 33  # even and odd maps
  maps = networks.maps(_build(), size)
  blocks = [f"block{i}" for i in range(17)]
  assert set(maps) == {"stem", *blocks, "top", "pooled"}
  halved = [-(-size // 2**i) for i in range(1, 6)]
  # The first map of every resolution, and the last.
  for n, i in zip(halved, (0, 1, 3, 6, 13), strict=True):
    assert maps[f"block{i}"][:2] == (n, n)
  assert maps["stem"][:2] == (halved[0],) * 2
  assert maps["block12"][:2] == (halved[3],) * 2
  assert maps["top"] == (halved[4], halved[4], 1280)


def test_width_rounds_channels_and_keeps_the_last_layer():
  maps = networks.maps(_build(width=0.35), 32)
  channels = [maps[name][-1] for name in ("stem", "block0", "block1", "top")]
  assert channels == [16, 8, 8, 1280]
  assert networks.maps(_build(width=1.4), 32)["top"][-1] == 1792
