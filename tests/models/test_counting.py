from mn_jax.models import counting, registry


def list_layers(model):
  module = registry.build(registry.describe(model, num_classes=2))
  return counting.list_layers(module, 32)


def test_layers_of_mobilenet_v1_in_the_order_of_their_calls():
  layers = list_layers("mobilenet_v1")
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


def test_windows_and_strides_of_mobilenet_v3():
  layers = list_layers("mobilenet_v3_small")
  depthwise = [layer for layer in layers if "depthwise" in layer.kind]
  assert {layer.window for layer in depthwise} == {(3, 3), (5, 5)}
  assert {layer.stride for layer in depthwise} == {1, 2}
  # Squeeze and excitation sees one pixel.
  assert any(
    layer.kind == "conv 1x1" and layer.input[:2] == (1, 1) for layer in layers
  )
