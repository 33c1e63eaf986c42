"""Published parts of data sets: lists of groups among the package data."""

import importlib.resources
import json
from typing import Any

from mn_jax.data.datasets.listing import PARTS


def of_groups(file: str) -> dict[str, list[str]]:
  """Reads lists of groups.

  Args:
    file: JSON in this package with a list of groups for each part.

  Returns:
    Part -> groups, of 'train', 'val' and 'test'.
  """
  content = _read(file)
  return {part: content[part] for part in PARTS}


def of_numbers(file: str) -> dict[str, list[str]]:
  """Reads lists of images that are called `CLASS/CLASS_NUMBER.jpg`.

  Args:
    file: JSON in this package whose "tiles" has strings for each class: the
      n-th letter of all of them, from 1, stands for a part of "parts".

  Returns:
    Part -> names of images, each a group by itself, of 'train', 'val' and
    'test'.
  """
  content = _read(file)
  lists: dict[str, list[str]] = {part: [] for part in PARTS}
  for name, lines in content["tiles"].items():
    for number, letter in enumerate("".join(lines), 1):
      part = content["parts"][letter]
      lists[part].append(f"{name}/{name}_{number}.jpg")
  return lists


def _read(file: str) -> dict[str, Any]:
  path = importlib.resources.files(__package__).joinpath(file)
  return json.loads(path.read_bytes())
