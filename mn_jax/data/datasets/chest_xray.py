"""Chest X-rays of children on Kaggle: `{part}/{class}/{file}`.

The archive holds a second copy of itself below `chest_xray/chest_xray/`; an
image is counted once. Its validation folder has 16 images, too few to choose
anything by: they are listed as training images, and a split takes validation
from the persons of the training part.

A person is `personN` in the names of the pneumonia images, and the number
behind `IM-` in those of the normal ones. Most of the test set's `personN` occur
in the training set as well: whether they are the same children or the numbering
started anew, the publisher does not say.
"""

import re

from mn_jax.data.datasets import class_folders
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.errors import InputError

CLASSES = ("normal", "pneumonia")

_FILE = re.compile(
  r"(?:(person\d+)_(?:bacteria|virus)|((?:NORMAL\d+-)?IM-\d+))[-_\d]*\.jpe?g",
  re.ASCII | re.IGNORECASE,
)


def _person(file: str) -> str:
  match = _FILE.fullmatch(file)
  if not match:
    raise InputError(
      f"data.path: got an image named {file!r}; valid: names like "
      "person63_bacteria_306.jpeg and IM-0115-0001.jpeg, which tell the person"
    )
  return match[1] or match[2]


SPEC = DatasetSpec(
  title="Chest X-rays of children, normal or pneumonia (Kaggle)",
  classes=CLASSES,
  positive=1,
  group="person",
  image_size=224,
  origin="Kermany, Goldbaum et al. 2018",
  licence="CC BY 4.0",
  open=class_folders.opener(
    CLASSES,
    folders=("NORMAL", "PNEUMONIA"),
    parts={"train": "train", "val": "train", "test": "test"},
    group=_person,
    suffixes=(".jpeg", ".jpg"),
    copies=True,
  ),
  images=5_856,
  split="fixed",
  kaggle="paultimothymooney/chest-xray-pneumonia/versions/2",
)
