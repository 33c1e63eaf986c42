"""Counts a network: `python -m mn_jax.tools.summary --model=mobilenet_v2`.

Layers, parameters, mult-adds and activations, from shapes alone: nothing is
initialised or compiled.
"""

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, number
from mn_jax.models import counting, registry
from mn_jax.models.classifier import HEADS
from mn_jax.observe.console import Console


def summarize(layers: Sequence[counting.Layer]) -> dict[str, Any]:
  """Sums up the layers of a network, in total and by kind.

  Args:
    layers: of the network.

  Returns:
    'params' (with running statistics, as Keras counts them), 'trainable',
    'macs', 'activation_bytes' (float32 outputs of all layers for one image:
    what a plain backward pass keeps) and 'by_type': kind -> 'macs', 'params'
    and their shares in percent, of kernels alone as in MobileNetV1's table 2.
  """
  trainable = sum(layer.params for layer in layers)
  macs = sum(layer.macs for layer in layers)
  kernels = sum(layer.kernel for layer in layers)
  by_type = {}
  for kind in dict.fromkeys(layer.kind for layer in layers if layer.kernel):
    of_kind = [layer for layer in layers if layer.kind == kind]
    kind_macs = sum(layer.macs for layer in of_kind)
    kind_params = sum(layer.kernel for layer in of_kind)
    by_type[kind] = {
      "macs": kind_macs,
      "macs_percent": 100 * kind_macs / macs,
      "params": kind_params,
      "params_percent": 100 * kind_params / kernels,
    }
  return {
    "params": trainable + sum(layer.stats for layer in layers),
    "trainable": trainable,
    "macs": macs,
    "activation_bytes": 4 * sum(layer.outputs for layer in layers),
    "by_type": by_type,
  }


def _print(
  console: Console, layers: Sequence[counting.Layer], total: dict[str, Any]
) -> None:
  console.table(
    "Layers (3x3: convolution, dw: depthwise)",
    ("layer", "kind", "output", "parameters", "mult-adds"),
    _layer_rows(layers, total),
  )
  console.table(
    "By kind of layer",
    ("kind", "mult-adds", "%", "kernel weights", "%"),
    [
      (
        kind,
        f"{row['macs']:,}",
        f"{row['macs_percent']:.2f}",
        f"{row['params']:,}",
        f"{row['params_percent']:.2f}",
      )
      for kind, row in total["by_type"].items()
    ],
  )
  console.line(
    f"{total['params']:,} parameters, {total['trainable']:,} of them trainable"
  )
  console.line(f"{total['macs']:,} mult-adds per image")
  console.line(
    f"{total['activation_bytes'] / 2**20:.1f} MiB of float32 activations per "
    "image"
  )


def _layer_rows(
  layers: Sequence[counting.Layer], total: dict[str, Any]
) -> list[tuple[str, ...]]:
  """Returns a row with the shares of each block, followed by its layers.

  Full paths would not fit into 80 columns: that of a layer is the name of its
  block and its own together.
  """
  blocks: dict[str, list[counting.Layer]] = {}
  for layer in layers:
    parts = layer.path.split("/")
    block = "/".join(parts[: 2 if len(parts) > 2 else 1])
    blocks.setdefault(f"{block}/", []).append(layer)
  rows = []
  for block, inside in blocks.items():
    params = sum(layer.params for layer in inside) / total["trainable"]
    macs = sum(layer.macs for layer in inside) / total["macs"]
    rows.append((block, "", "", f"{params:.2%}", f"{macs:.2%}"))
    rows += [
      (
        f" {layer.path.removeprefix(block)}",
        layer.kind.replace("depthwise", "dw").removeprefix("conv "),
        "x".join(map(str, layer.output)),
        f"{layer.params:,}",
        f"{layer.macs:,}" if layer.macs else "",
      )
      for layer in inside
    ]
  return rows


def _parser() -> Parser:
  parser = Parser(
    command("summary"),
    description="Count a network's parameters, mult-adds and activations.",
    example="--model=mobilenet_v2 --classes=2",
  )
  parser.add_argument(
    "--model", metavar="NAME", required=True, help=", ".join(registry.MODELS)
  )
  option = parser.option
  option(
    "--width",
    "FACTOR",
    "width multiplier",
    type=number(float, 0.05, 4),
    default=1.0,
  )
  option(
    "--resolution",
    "PIXELS",
    "input height and width (default: the network's own)",
    type=int,
  )
  option(
    "--classes", "COUNT", "number of logits", type=number(int, 1), default=1000
  )
  option("--head", "NAME", f"own, {', '.join(HEADS)}", default="own")
  parser.flag("--shallow", "mobilenet_v1: 8 of 13 blocks")
  parser.flag(
    "--full-convolutions",
    "mobilenet_v1: full instead of separable convolutions",
  )
  parser.flag("--conv-bias", "mobilenet_v1: biases before BatchNorm")
  parser.flag(
    "--minimalistic",
    "mobilenet_v3: no squeeze-excite, hard swish and 5x5 kernels",
  )
  parser.flag(
    "--stride-in-1x1",
    "resnet50, resnet152: strides in the 1x1 convolution, as in Keras",
  )
  parser.flag("--json", "print JSON")
  return parser


def _describe(args: argparse.Namespace) -> registry.Network:
  network = registry.describe(
    args.model,
    num_classes=args.classes,
    width=args.width,
    head=args.head,
    options=registry.Options(
      shallow=args.shallow,
      separable=not args.full_convolutions,
      conv_bias=args.conv_bias,
      minimalistic=args.minimalistic,
      stride_in_1x1=args.stride_in_1x1,
    ),
  )
  if args.resolution is not None:
    registry.check_resolution(args.model, args.resolution)
  return network


def _summary(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  network = _describe(args)
  resolution = args.resolution or network.conventions.resolution
  layers = counting.list_layers(registry.build(network), resolution)
  total = summarize(layers)
  if args.json:
    print(json.dumps({"resolution": resolution, **total}))
    return
  console = Console()
  console.line(f"{args.model}: {registry.get(args.model).paper}")
  console.line(
    f"width {args.width:g}, {resolution} pixels, {args.classes} classes"
  )
  _print(console, layers, total)


main = functools.partial(program.run, "summary", _summary)

if __name__ == "__main__":
  sys.exit(main())
