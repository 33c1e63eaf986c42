"""Tests of the list of layers."""

from tests.models import networks


def test_layers_of_mobilenet_v1_in_the_order_of_their_calls():
  layers = networks.layers(networks.build("mobilenet_v1", 2), 32)
  first, norm, depthwise, *_, logits = layers
  assert (first.kind, first.window, first.stride) == ("conv 3x3", (3, 3), 2)
  assert (first.input, first.output) == ((32, 32, 3), (16, 16, 32))
  assert first.padding == ((0, 1), (0, 1))
  assert norm.kind == "norm"
  assert norm.input == norm.output == (16, 16, 32)
  assert norm.path.removesuffix("norm") == first.path.removesuffix("conv")
  assert depthwise.kind == "depthwise 3x3"
  assert depthwise.padding == ((1, 1), (1, 1))
  assert (logits.kind, logits.output) == ("dense", (2,))
  kinds = [layer.kind for layer in layers]
  assert kinds.count("depthwise 3x3") == 13
  assert kinds.count("norm") == 27
  assert kinds.count("conv 1x1") == 13
