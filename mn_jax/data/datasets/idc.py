"""IDC, patches of breast histopathology on Kaggle.

Everything about a patch is in the name of its file, which is
`{case}/{class}/{case}_idx5_x{X}_y{Y}_class{class}.png`. The archive holds a
second copy of all patches below `IDC_regular_ps50_idx5/`; a patch is counted
once, by its name.
"""

import functools
import re

from mn_jax.data.datasets import part_lists
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import of_files
from mn_jax.data.datasets.spec import DatasetSpec
from mn_jax.data.files import images
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

CLASSES = ("no_idc", "idc")

_NAME = re.compile(
  r"(?:.*/)?((\d{1,9})_idx\d+_x(\d{1,9})_y(\d{1,9})_class([01])\.png)", re.ASCII
)


def list_images(files: Files) -> Listing:
  """Lists the patches of a folder or archive, in order of case, x and y.

  Raises:
    InputError: if there is none.
  """
  row_of_name: dict[str, tuple] = {}  # of rank, sorting key and row
  others = copies = 0
  for path in files.names():
    match = _NAME.fullmatch(path)
    if not match:
      others += 1
      continue
    name, case, *numbers = match.groups()
    x, y, label = map(int, numbers)
    row = (label, name, path, files.stamp(path), case, "", x, y)
    # The copy nearest the root wins, whatever order the names come in.
    ranked = ((path.count("/"), path), (int(case), x, y, name), row)
    copies += name in row_of_name
    row_of_name[name] = min(row_of_name.get(name, ranked), ranked)
  if not row_of_name:
    raise InputError(
      "data.path: no file named like 8863_idx5_x51_y1251_class0.png among "
      f"{others} files; valid: the layout of the Kaggle archive"
    )
  rows = sorted(ranked[1:] for ranked in row_of_name.values())
  passed_over = (
    ("", "files without the name of a patch", others),
    ("", "second copies of patches", copies),
  )
  return Listing.of_rows(
    CLASSES,
    [row for _, row in rows],
    passed_over=[
      *(kind for kind in passed_over if kind[2]),
      *images.count(("", what) for _, what in files.unread),
    ],
    notes=files.notes,
  )


SPEC = DatasetSpec(
  title="Invasive ductal carcinoma patches, 50x50 at 40x (Kaggle)",
  classes=CLASSES,
  positive=1,
  group="patient",
  image_size=50,
  origin="Cruz-Roa et al. 2014; Janowczyk & Madabhushi 2016",
  licence="CC0 1.0, as stated on Kaggle",
  open=of_files(list_images),
  images=277_524,
  split="grouped",
  kaggle="paultimothymooney/breast-histopathology-images/versions/1",
  part_lists=functools.partial(part_lists.of_groups, "idc_case_lists.json"),
  slides=True,
)
