from mn_jax.models import registry
from mn_jax.perf.bench import layer_calls


def calls(model):
  module = registry.build(registry.describe(model, num_classes=2))
  return layer_calls.list_calls(module, 32)


def test_layers_of_mobilenet_v1_in_their_order():
  found = calls("mobilenet_v1")
  first, norm, depthwise, *_, logits = found
  assert (first.kind, first.window, first.stride) == ("conv", (3, 3), 2)
  assert (first.input, first.output) == ((32, 32, 3), (16, 16, 32))
  assert first.padding == ((0, 1), (0, 1))
  assert norm.kind == "norm"
  assert norm.input == norm.output == (16, 16, 32)
  assert norm.path.removesuffix("norm") == first.path.removesuffix("conv")
  assert depthwise.kind == "depthwise"
  assert depthwise.padding == ((1, 1), (1, 1))
  assert (logits.kind, logits.output) == ("dense", (2,))
  kinds = [call.kind for call in found]
  assert kinds.count("depthwise") == 13
  assert kinds.count("norm") == 27
  assert sum(call.pointwise for call in found) == 13


def test_windows_and_strides_of_mobilenet_v3():
  found = calls("mobilenet_v3_small")
  depthwise = [call for call in found if call.kind == "depthwise"]
  assert {call.window for call in depthwise} == {(3, 3), (5, 5)}
  assert {call.stride for call in depthwise} == {1, 2}
  # Those of squeeze and excitation see one pixel.
  assert any(call.pointwise and call.input[:2] == (1, 1) for call in found)
