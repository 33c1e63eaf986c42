"""Counts a network: `python -m mn_jax.tools.summary --model=mobilenet_v2`.

Layers, parameters, mult-adds and activations, from shapes alone: no weights are
made and nothing is compiled.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.models import counting, registry
from mn_jax.observe.console import Console


def summarize(layers: Sequence[counting.Layer]) -> dict[str, Any]:
  """Totals and the share of every kind of layer.

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
    own = [layer for layer in layers if layer.kind == kind]
    kind_macs = sum(layer.macs for layer in own)
    kind_params = sum(layer.kernel for layer in own)
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
    "Layers",
    ("layer", "kind", "output", "parameters", "mult-adds"),
    [
      (
        layer.path,
        layer.kind,
        "x".join(map(str, layer.output)),
        f"{layer.params:,}",
        f"{layer.macs:,}" if layer.macs else "",
      )
      for layer in layers
    ],
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


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.summary",
    description="Count a network's parameters, mult-adds and activations.",
  )
  parser.add_argument("--model", required=True, help=", ".join(registry.MODELS))
  parser.add_argument("--width", type=float, default=1.0, help="multiplier")
  parser.add_argument(
    "--resolution", type=int, default=224, help="input size in pixels"
  )
  parser.add_argument("--classes", type=int, default=1000, help="logits")
  parser.add_argument("--json", action="store_true", help="print JSON")
  args = parser.parse_args(argv)
  try:
    if not (args.width > 0 and args.resolution > 0 and args.classes > 0):
      raise InputError(
        f"got width {args.width:g}, resolution {args.resolution}, classes "
        f"{args.classes}; valid: numbers above 0"
      )
    module = registry.build(
      args.model,
      num_classes=args.classes,
      width=args.width,
      norm_momentum=0.99,  # has no part in what is counted
    )
  except InputError as error:
    print(f"summary: {error}", file=sys.stderr)
    return 2
  layers = counting.list_layers(module, args.resolution)
  total = summarize(layers)
  if args.json:
    print(json.dumps(total))
  else:
    _print(Console(), layers, total)
  return 0


if __name__ == "__main__":
  sys.exit(main())
