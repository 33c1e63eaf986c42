"""The 1000 classes of ImageNet (ILSVRC 2012), in the order of their logits."""

import importlib.resources
import json


def names() -> list[str]:
  """Returns the names of the 1000 classes, in the order of their logits.

  These are the first lemmas of the synsets of WordNet 3.0, sorted by WordNet
  id; not all are unique.
  """
  text = importlib.resources.files(__package__).joinpath(
    "imagenet_classes.json"
  )
  return [name for _, name in json.loads(text.read_bytes())]
