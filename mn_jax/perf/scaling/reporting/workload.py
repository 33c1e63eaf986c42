"""What is trained, as a report names it, and how many images that takes."""

from collections.abc import Mapping
from typing import Any

from mn_jax.perf.scaling import points

# All fields as JSON has them, by section or 'section.field'.
Config = Mapping[str, Any]


def label(config: Config) -> str:
  """What names a network and its input: 'mobilenet_v1, 224 px'.

  Measurements and predictions with the same label belong together; their data
  sets may differ.
  """
  fields = points.flat(config)
  words = [fields["model.name"]]
  if fields["model.width"] != 1:
    words.append(f"width {fields['model.width']:g}")
  words.append(f"{fields['model.resolution'] or fields['data.image_size']} px")
  if fields["model.dtype"] != "float32":
    words.append(fields["model.dtype"])
  if fields["model.transfer"] == "frozen":
    words.append("frozen backbone")
  return ", ".join(words)


def images_to_train(config: Config, epoch: float | None) -> float | None:
  """Images from the first step of a run to its last.

  Args:
    config: of the run.
    epoch: images in its training part; None where that is not known.

  Returns:
    The number; None where it depends on what is not known.
  """
  fields = points.flat(config)
  if fields["train.epochs"]:
    return None if epoch is None else fields["train.epochs"] * epoch
  steps = fields["train.steps"] * fields["train.batch_size"]
  return steps + fields["train.examples"]


def seconds(images: float | None, images_per_sec: float | None) -> float | None:
  """What so many images take; None where one of the two is not known."""
  if images is None or images_per_sec is None:
    return None
  return images / images_per_sec
