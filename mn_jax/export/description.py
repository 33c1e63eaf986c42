"""The description of an exported file: JSON, inside of it and beside it.

It says all that a program needs which has the file alone: what goes in, what
comes out, and what the file was made of.
"""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import jax

import mn_jax
from mn_jax.export.options import OUTPUTS, Options
from mn_jax.export.source import Source
from mn_jax.run.reopen import SavedRun
from mn_jax.train import state as state_lib

VERSION = 1
_TITLES = {
  "litert": "LiteRT",
  "onnx": "ONNX",
  "stablehlo": "StableHLO, as jax.export serializes it",
}
# Packages that decide what is in a file.
_MAKERS = {
  "litert": ("litert-converter", "ai-edge-quantizer"),
  "onnx": ("onnx", "onnxruntime"),
  "stablehlo": (),
}


def describe(
  source: Source,
  form: str,
  options: Options,
  *,
  origin: Mapping[str, Any],
  calibration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """Returns the description of a file as values that JSON can hold.

  Args:
    source: the network.
    form: a name in `options.FORMATS`.
    options: of the file.
    origin: what is known of the training, such as its step.
    calibration: number of 'images' and their 'part'; None where there were
      none.
  """
  trained = source.trained
  return {
    "description_version": VERSION,
    "format": _TITLES[form],
    "network": trained.network.name,
    "width": trained.network.width,
    "multi_label": trained.multi_label,
    "classes": list(trained.classes),
    "input": _input(source, options),
    "outputs": _outputs(source, options),
    "precision": options.precision,
    "calibration": None if calibration is None else dict(calibration),
    "conventions": dataclasses.asdict(trained.network.conventions),
    "weights": {**origin, "sha256": state_lib.sha256(trained.variables)},
    "note": trained.note,
    "versions": {
      "mn_jax": mn_jax.__version__,
      "jax": jax.__version__,
      **_versions(form),
    },
  }


def origin_of(run: SavedRun | None) -> dict[str, Any]:
  """Returns what tells which checkpoint of which run a network is.

  It has no name of a folder, an image or a group.

  Args:
    run: None for a network of no run, of which nothing is known.
  """
  if run is None:
    return {}
  return {
    "experiment": run.config.experiment,
    "seed": run.config.seed,
    "step": run.step,
    **{f"{name}_sha256": digest for name, digest in run.digests.items()},
  }


def _input(source: Source, options: Options) -> dict[str, Any]:
  trained, resolution = source.trained, source.resolution
  conventions = trained.network.conventions
  common = {
    "name": "images",
    "layout": "NHWC",
    "channels": "RGB",
    "resolution": resolution,
    "mean": list(conventions.mean),
    "std": list(conventions.std),
  }
  batch = options.batch or "batch"
  if options.input == "normalised":
    return {
      **common,
      "dtype": "float32",
      "shape": [batch, resolution, resolution, 3],
      "values": "(x / 255 - mean) / std, of x in [0, 255]",
      "normalised_inside": False,
      "resized_inside": False,
      **_preparation(source),
    }
  height, width = options.size or ("height", "width")
  ready = (height, width) == (trained.image_size, trained.image_size)
  return {
    **common,
    "dtype": "uint8",
    "shape": [batch, height, width, 3],
    "values": "[0, 255]",
    "normalised_inside": True,
    "resized_inside": not ready,
    **_preparation(source),
  }


def _preparation(source: Source) -> dict[str, Any]:
  """How images are resized and cropped, inside of the file or before it."""
  trained = source.trained
  return {
    "resized_to": trained.image_size,
    "cropped_share": trained.crop,
    "interpolation": trained.interpolation,
  }


def _outputs(source: Source, options: Options) -> dict[str, Any]:
  trained = source.trained
  each = "probability of each label" if trained.multi_label else None
  meanings = (
    each or "probabilities of the classes, which sum to 1",
    "before the sigmoid" if trained.multi_label else "before the softmax",
  )
  return {
    name: {
      "dtype": "float32",
      "shape": [options.batch or "batch", len(trained.classes)],
      "meaning": meaning,
    }
    for name, meaning in zip(OUTPUTS, meanings, strict=True)
  }


def _versions(form: str) -> dict[str, str]:
  found = {}
  for package in _MAKERS[form]:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found
