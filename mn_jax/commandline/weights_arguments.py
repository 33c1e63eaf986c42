"""Arguments that name a network with published weights, in place of a run."""

import argparse

from mn_jax.commandline.parser import Parser, number
from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError
from mn_jax.models import registry

_NAMES = ("model", "weights", "width", "minimalistic", "classes")


def add(parser: Parser) -> None:
  """Adds them."""
  parser.option("--model", "NAME", "name of the network")
  parser.option(
    "--weights",
    "NAME",
    "its weights: imagenet, hf:OWNER/NAME[@REVISION] of the Hugging Face Hub, "
    "or a file: .h5 or .keras of Keras Applications, .safetensors of timm or "
    "torchvision; a folder of `mn-jax push` needs no --model",
  )
  parser.option(
    "--width",
    "FACTOR",
    "width multiplier of these weights (default: 1)",
    type=number(float, 0.01, 4),
  )
  parser.flag(
    "--minimalistic", "the weights are of a minimalistic mobilenet_v3"
  )
  parser.option(
    "--classes",
    "NAMES",
    "names of the classes of these weights in the order of the logits, "
    "separated by commas (default: those of ImageNet, or numbers)",
    type=lambda text: tuple(text.split(",")),
  )


def check(args: argparse.Namespace) -> None:
  """Refuses anything but a run or weights, one of them.

  Args:
    args: with these arguments and `workdir`, a folder or a list of them.

  Raises:
    InputError: naming what was given.
  """
  of_weights = {
    f"--{name}": getattr(args, name) for name in _NAMES if getattr(args, name)
  }
  complete = not of_weights if args.workdir else args.weights
  if complete:
    return
  of_run = {}
  if args.workdir:
    first = args.workdir[0] if isinstance(args.workdir, list) else args.workdir
    of_run["--workdir"] = first
  listed = ", ".join(f"{k}={v}" for k, v in (of_run | of_weights).items())
  raise InputError(
    f"got {listed or 'no network'}; valid: --workdir=DIR, or --model=NAME and "
    "--weights=NAME"
  )


def load(args: argparse.Namespace) -> Trained:
  """Loads the network that the arguments name.

  Raises:
    InputError: if the weights are not found, do not fit, or need the name of
      their network.
  """
  if args.model:
    network = registry.describe(
      args.model,
      num_classes=1,
      width=1.0 if args.width is None else args.width,
      options=registry.Options(minimalistic=args.minimalistic),
    )
    return trained_lib.from_weights(
      args.weights, network, classes=args.classes or ()
    )
  for name in ("width", "minimalistic", "classes"):
    if getattr(args, name):
      raise InputError(
        f"--{name}: got it without a network; valid: --model=NAME"
      )
  loaded = trained_lib.from_export(args.weights)
  if loaded is None:
    raise InputError(
      f"--weights: got {args.weights!r} without the name of its network; "
      "valid: --model=NAME too, or what mn-jax push wrote"
    )
  return loaded
