"""Images of the user: `<class>/<file>`, or `<part>/<class>/<file>`.

Classes are named after the folders. The images are in parts if every
folder of images lies below one called train, val or test (or a usual synonym);
such data is split as it lies there.
"""

from mn_jax.data.datasets import class_folders
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

PARTS = {
  "train": "train",
  "training": "train",
  "val": "val",
  "valid": "val",
  "validation": "val",
  "test": "test",
  "testing": "test",
}


def list_images(files: Files) -> Listing:
  """Lists the images of a folder or archive, in order of class and name.

  Raises:
    InputError: if there are fewer than two classes, class folders are at
      different depths, or two folders are the same part; and see
      `class_folders.list_images`.
  """
  folders = set()
  for path, _ in files.names():
    words = class_folders.split_path(path)
    if words and words[-1].lower().endswith(class_folders.SUFFIXES):
      folders.add(tuple(words[:-1]))
  if len({len(words) for words in folders}) > 1:
    deep, shallow = (
      "/".join(words) or "the top folder"
      for words in (max(folders, key=len), min(folders, key=len))
    )
    raise InputError(
      f"data.path: got images in {shallow!r} and in {deep!r}; valid: all "
      "CLASS/FILE, or all PART/CLASS/FILE with the parts train, val and test"
    )
  if folders and all(w[-2:-1] and w[-2].lower() in PARTS for w in folders):
    parts = {words[-2]: PARTS[words[-2].lower()] for words in folders}
    if len(set(parts.values())) < len(parts):
      raise InputError(
        f"data.path: got the folders {', '.join(sorted(parts))}, of which two "
        "are the same part; valid: one folder each of train, val and test"
      )
  else:
    parts = None
  classes = tuple(sorted({words[-1] for words in folders if words}))
  if len(classes) < 2:
    raise InputError(
      f"data.path: got {len(classes)} folders of images; valid: one folder for "
      "each of two or more classes"
    )
  return class_folders.list_images(files, classes, parts=parts)


SPEC = DatasetSpec(
  title="Your own images in a folder for each class",
  classes=(),
  image_size=224,
  origin="the user",
  licence="the user's to know",
  open=of_files(list_images),
  images=0,
  split="stratified",
  other_sizes="crop",
  page="your own disk",
)
