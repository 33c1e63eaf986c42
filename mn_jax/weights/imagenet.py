"""The 1000 classes of ImageNet (ILSVRC 2012), in the order of their logits."""

import importlib.resources
import json


def names() -> list[str]:
  """Class names in the order of sorted WordNet ids; not all are unique.

  The first lemma of each synset of WordNet 3.0.
  """
  text = importlib.resources.files(__package__).joinpath(
    "imagenet_classes.json"
  )
  return [name for _, name in json.loads(text.read_text())]
