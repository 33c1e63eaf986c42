"""Tests of the program that counts networks."""

import json

import pytest

from mn_jax.models import counting, registry, variables
from mn_jax.tools import summary

# Layers take seconds to trace; the counts of the others are tested in models.
FAST = ("mobilenet_v3_small", "vgg16")
MODELS = [
  pytest.param(name, marks=() if name in FAST else pytest.mark.extended)
  for name in registry.MODELS
]


def run(capsys, *arguments):
  code = summary.main(list(arguments))
  return code, *capsys.readouterr()


def totals(capsys, *arguments):
  code, out, _ = run(capsys, *arguments, "--json")
  assert code == 0
  return json.loads(out)


def build(name, **describe):
  network = registry.describe(name, num_classes=7, width=0.25, **describe)
  return registry.build(network)


def test_json_of_mobilenet_v1(capsys):
  total = totals(capsys, "--model=mobilenet_v1")
  assert total["resolution"] == 224
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


def test_flags(capsys):
  """Counts that another value of the flag would not give."""
  for arguments, params, macs in (
    (
      ["mobilenet_v1", "--width=0.5", "--resolution=160"],
      1_342_536,
      76_524_800,
    ),
    (["mobilenet_v1", "--shallow"], 2_899_624, 307_323_392),
    (["mobilenet_v1", "--full-convolutions"], 29_306_056, 4_867_293_184),
    (["mobilenet_v1", "--conv-bias", "--classes=10"], 3_250_058, 567_726_592),
    (
      ["mobilenet_v2", "--head=gap_128_64", "--classes=8"],
      2_431_496,
      299_666_816,
    ),
    (["mobilenet_v3_small", "--minimalistic"], 2_056_848, 52_288_448),
    (["resnet50", "--stride-in-1x1"], 25_610_152, 3_857_973_248),
    (["simple_cnn", "--classes=8"], 670_056, 457_523_456),
  ):
    name, *flags = arguments
    total = totals(capsys, f"--model={name}", *flags)
    assert (total["params"], total["macs"]) == (params, macs)
  name = "--model=simple_cnn"
  assert totals(capsys, name)["resolution"] == 160
  assert totals(capsys, name, "--resolution=32")["resolution"] == 32


def test_nothing_is_left_out():
  """Of any kind of layer, head or bias; tables are those of every model."""
  check_totals("mobilenet_v3_small")
  check_totals("mobilenet_v1", options=registry.Options(conv_bias=True))
  check_totals("mobilenet_v2", head="gap_128_64")
  check_totals("vgg16", head="flatten_4096_1024")


def check_totals(name, **describe):
  module = build(name, **describe)
  size = max(64, registry.get(name).min_resolution)
  layers = counting.list_layers(module, size)
  total = summary.summarize(layers)
  params, stats = counting.count_params(variables.shapes(module, size))
  assert total["trainable"] == params
  assert total["params"] == params + stats
  assert total["macs"] == sum(layer.macs for layer in layers)
  for share in ("macs_percent", "params_percent"):
    assert sum(
      row[share] for row in total["by_type"].values()
    ) == pytest.approx(100)


def test_mult_adds_and_sizes_of_every_kind_of_layer():
  layers = counting.list_layers(
    build("mobilenet_v3_small", head="gap_128_64"), 64
  )
  rows = {
    layer.path: (layer.kind, layer.output, layer.params, layer.macs)
    for layer in layers
  }
  assert rows["backbone/block3/depthwise/conv"] == (
    "depthwise 5x5",
    (4, 4, 32),
    25 * 32,
    25 * 32 * 16,
  )
  # Squeeze and excitation works on one pixel, with biases.
  assert rows["backbone/block3/squeeze_excite/reduce"] == (
    "conv 1x1",
    (1, 1, 8),
    32 * 8 + 8,
    32 * 8,
  )
  assert rows["head/dense0"][::2] == ("dense", 144 * 128 + 128)
  assert rows["head/dense0"][3] == 144 * 128
  assert rows["head/norm0"] == ("norm", (128,), 256, 0)
  # In the order of calls, not the alphabetical one.
  paths = list(rows)
  block = [p.split("/", 2)[2] for p in paths if "/block10/" in p]
  parts = ["expand", "depthwise", "squeeze_excite", "project"]
  assert list(dict.fromkeys(p.split("/")[0] for p in block)) == parts
  assert paths.index("backbone/block2/expand/conv") < paths.index(
    "backbone/block10/expand/conv"
  )


def test_a_folded_network_has_its_biases_counted():
  network = registry.describe("mobilenet_v2", num_classes=7, width=0.25)
  module = registry.build(network, folded=True)
  values = variables.shapes(module, 32)
  assert values["batch_stats"] == {}
  layers = counting.list_layers(module, 32)
  params, _ = counting.count_params(values)
  assert sum(layer.params for layer in layers) == params


@pytest.mark.parametrize("name", MODELS)
def test_tables_fit_and_name_every_layer(capsys, monkeypatch, name):
  monkeypatch.setenv("COLUMNS", "80")
  layers, real = [], counting.list_layers

  def list_layers(*arguments):
    layers.extend(real(*arguments))
    return layers

  monkeypatch.setattr(counting, "list_layers", list_layers)
  code, out, _ = run(capsys, f"--model={name}")
  assert code == 0
  assert max(map(len, out.splitlines())) <= 80
  assert "…" not in out
  spec = registry.get(name)
  assert f"{name}: {spec.paper}\n" in out
  # A layer's path is its block's and its own.
  cells = [line.split("│")[1] for line in out.splitlines() if "│" in line]
  block, paths = "", []
  for cell in cells:
    if cell.rstrip().endswith("/"):
      block = cell.strip()
    elif cell.startswith("  "):
      paths.append(block + cell.strip())
  assert paths == [layer.path for layer in layers]
  assert f"{spec.params:,} of them trainable" in out
  assert f"\n{spec.macs:,} mult-adds per image\n" in out
  total = summary.summarize(layers)
  for share in ("macs_percent", "params_percent"):
    shares = [row[share] for row in total["by_type"].values()]
    assert sum(shares) == pytest.approx(100)


def test_shares_of_blocks(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  _, out, _ = run(capsys, "--model=simple_cnn", "--classes=8")
  (head,) = (line for line in out.splitlines() if "head/" in line)
  cells = [cell.strip() for cell in head.split("│")[1:-1]]
  # 409,896 of 670,056 parameters, 409,856 of 457,523,456 mult-adds.
  assert cells == ["head/", "", "", "61.17%", "0.09%"]


def test_wrong_input_is_one_line(capsys):
  for arguments, message in (
    (["--model=alexnet"], "got 'alexnet'; valid: mobilenet_v1"),
    (["--model=mobilenet_v1", "--width=0"], "--width: got 0; valid: 0.05 to 4"),
    (["--model=mobilenet_v1", "--width=nan"], "--width: got nan"),
    (
      ["--model=mobilenet_v1", "--classes=-1"],
      "--classes: got -1; valid: 1 or more",
    ),
    (["--model=mobilenet_v1", "--head=none"], "got 'none'; valid: own, plain"),
    (["--model=vgg16", "--shallow"], "model.shallow: got True for 'vgg16'"),
    (
      ["--model=vgg16", "--resolution=31"],
      "got 31 pixels for 'vgg16'; valid: 32 or more",
    ),
    (["--model=mobilenet_v1", "--resolution=0"], "got 0 pixels"),
  ):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
