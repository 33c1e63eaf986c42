"""Files for TensorBoard's embedding projector.

The projector reads tables and a sprite, no event files.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mn_jax.data import atomic
from mn_jax.observe import escape

# TensorBoard loads no larger sprite.
_SPRITE = 8192  # pixels


def write(
  folder: pathlib.Path,
  features: np.ndarray,
  columns: Mapping[str, Sequence[str]],
  images: np.ndarray,
  *,
  name: str,
) -> None:
  """Writes or replaces the files of the projector.

  Args:
    folder: for `tensorboard --logdir`.
    features: f32[n, c].
    columns: name -> n strings, facts about each image; two or more.
    images: u8[n, h, h, 3], shown at the points; shrunk to fit the sprite.
    name: of the features.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with atomic.writing(folder / "tensors.tsv") as file:
    np.savetxt(file, features, fmt="%.7g", delimiter="\t")
  rows = [tuple(columns), *zip(*columns.values(), strict=True)]
  # The format has no way to quote a tab or the end of a line.
  lines = ["\t".join(map(escape.printable, row)) for row in rows]
  atomic.write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
  sprite, side = _sprite(images)
  with atomic.writing(folder / "sprite.png") as file:
    Image.fromarray(sprite).save(file, "PNG")
  quoted = json.dumps(escape.printable(name), ensure_ascii=False)
  atomic.write_text(
    folder / "projector_config.pbtxt",
    "embeddings {\n"
    # A JSON string is one of this format too.
    f"  tensor_name: {quoted}\n"
    '  tensor_path: "tensors.tsv"\n'
    '  metadata_path: "metadata.tsv"\n'
    "  sprite {\n"
    '    image_path: "sprite.png"\n'
    f"    single_image_dim: {side}\n"
    f"    single_image_dim: {side}\n"
    "  }\n"
    "}\n",
  )


def _sprite(images: np.ndarray) -> tuple[np.ndarray, int]:
  per_row = int(np.ceil(np.sqrt(len(images))))
  side = max(1, min(images.shape[1], _SPRITE // per_row))
  sprite = np.full((per_row * side, per_row * side, 3), 255, np.uint8)
  for i, image in enumerate(images):
    top, left = i // per_row * side, i % per_row * side
    if side < len(image):
      small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
      image = np.asarray(small)
    sprite[top : top + side, left : left + side] = image
  return sprite, side
