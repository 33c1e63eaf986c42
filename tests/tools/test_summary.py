import json

import pytest

from mn_jax.models import counting, registry
from mn_jax.tools import summary


def run(capsys, *arguments):
  code = summary.main(list(arguments))
  return code, *capsys.readouterr()


def test_json_of_mobilenet_v1(capsys):
  code, out, _ = run(
    capsys,
    "--model=mobilenet_v1",
    "--width=1.0",
    "--resolution=224",
    "--classes=1000",
    "--json",
  )
  total = json.loads(out)
  assert code == 0
  assert total["params"] == 4_253_864
  assert total["trainable"] == 4_231_976
  assert total["macs"] == 568_740_352
  # Howard et al. 2017, table 2. It prints 1.19 % for the mult-adds of the 3x3
  # convolution, but then its column adds up to 99.29 %; 1.91 completes it.
  shares = {
    kind: (round(row["macs_percent"], 2), round(row["params_percent"], 2))
    for kind, row in total["by_type"].items()
  }
  assert shares == {
    "conv 1x1": (94.86, 74.59),
    "depthwise 3x3": (3.06, 1.06),
    "conv 3x3": (1.91, 0.02),
    "dense": (0.18, 24.33),
  }


@pytest.mark.parametrize("name", registry.MODELS)
def test_layers_are_in_the_order_of_calls_and_complete(name):
  module = registry.build(name, num_classes=7, width=0.5, norm_momentum=0.9)
  layers = counting.list_layers(module, 64)
  assert layers[0].path == "stem/conv"
  assert layers[0].output[:2] == (32, 32)
  assert layers[-1].path == "head"
  assert layers[-1].output == (7,)
  paths = [layer.path for layer in layers]
  assert paths.index("block2/depthwise/conv") < paths.index(
    "block10/depthwise/conv"
  )
  total = summary.summarize(layers)
  assert total["trainable"] == sum(layer.params for layer in layers)
  assert total["macs"] == counting.count_macs(module, 64)
  for share in ("macs_percent", "params_percent"):
    assert sum(
      row[share] for row in total["by_type"].values()
    ) == pytest.approx(100)


def test_tables_name_every_layer(capsys):
  code, out, _ = run(capsys, "--model=mobilenet_v2", "--resolution=32")
  assert code == 0
  assert "block16/project/norm" in out
  assert "3,538,984 parameters, 3,504,872 of them trainable" in out


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--model=alexnet"], "got 'alexnet'; valid: mobilenet_v1"),
    (["--model=mobilenet_v1", "--width=0"], "got width 0"),
    (["--model=mobilenet_v1", "--classes=-1"], "classes -1; valid"),
  ],
)
def test_wrong_input_is_one_line(capsys, arguments, message):
  code, _, err = run(capsys, *arguments)
  assert code == 2
  assert message in err
  assert err.count("\n") == 1
