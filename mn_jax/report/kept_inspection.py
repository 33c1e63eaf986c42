"""What opening a network showed, kept beside the kept run.

Weights are not kept, so the most confident errors, saliency maps and features
of a run cannot be drawn again. Their pictures stay in the folder of the study's
figures, and `inspection.json` in that of the run has their digests and the
numbers.
"""

import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Iterable, Mapping

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.report import document, page, run_analysis
from mn_jax.report import inspection as inspection_lib
from mn_jax.report.inspection import Inspection, Inspections
from mn_jax.run import records
from mn_jax.studies.study import StudyRun

_NAME = "inspection.json"
_FIELDS = {
  **dict.fromkeys(("knn_accuracy", "silhouette"), float | int | None),
  **dict.fromkeys(("with_batch_statistics", "figures"), dict),
  "is_multi_label": bool,
}
# Field of an inspection -> what follows the row in the name of its picture.
_PICTURES = {
  "errors": "mistakes",
  "saliency": "saliency",
  "embedding": "embedding",
}


def inspect_missing(
  console: Console,
  runs: Iterable[StudyRun],
  figures: pathlib.Path,
  places: Mapping[str, str],
) -> None:
  """Opens the network of the first kept run of each row that lacks it.

  Args:
    console: shows progress, and names the networks that cannot be opened.
    runs: of the study, in the order of seeds.
    figures: folder of the study's figures.
    places: as `inspection.inspect` takes them.
  """
  firsts: dict[str, StudyRun] = {}
  for run in runs:
    if run.is_kept():
      firsts.setdefault(run.member.name, run)
  missing = [x for x in firsts.values() if not (x.kept / _NAME).exists()]
  with console.counting("opening networks", "images") as progress:
    for run in missing:
      analysis = run_analysis.analyze(run.kept)
      found = Inspections(inspection_lib.saved_baselines([analysis]), {})
      try:
        inspection_lib.inspect(
          dataclasses.replace(analysis, path=run.workdir),
          found,
          places=places,
          progress=progress,
        )
      except InputError as error:
        console.line(f"Not opened: {run.title()}: {error}")
        continue
      if run.workdir in found.networks:
        write(found.networks[run.workdir], run, figures)


def write(inspection: Inspection, run: StudyRun, figures: pathlib.Path) -> None:
  """Keeps an inspection.

  Args:
    inspection: of the run's network.
    run: that is kept.
    figures: folder of the study's figures.
  """
  digests = {}
  anchor = document.anchor(run.member.name)
  for figure in inspection_lib.figures(anchor, inspection):
    content = page.webp(figure)
    atomic.write_bytes(figures / f"{figure.name}.webp", content)
    digests[figure.name] = hashlib.sha256(content).hexdigest()
  records.write_object(
    run.kept / _NAME,
    {
      "knn_accuracy": inspection.knn_accuracy,
      "silhouette": inspection.silhouette,
      "with_batch_statistics": dict(inspection.with_batch_statistics),
      "is_multi_label": inspection.is_multi_label,
      "figures": digests,
    },
  )


def read(folder: pathlib.Path, figures: pathlib.Path) -> Inspection | None:
  """Reads a kept inspection; None if there is none.

  Args:
    folder: of the kept run.
    figures: folder of the study's figures.

  Raises:
    InputError: if it is damaged, or a picture is not the one that was kept.
  """
  if not (folder / _NAME).exists():
    return None
  saved = records.read_object(folder / _NAME, _FIELDS)
  pictures = {}
  for name, digest in saved["figures"].items():
    path = figures / f"{name}.webp"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
      raise InputError(
        f"{path}: it is not the figure that {folder / _NAME} was kept with; "
        "valid: that figure, or without both files"
      )
    pictures[name.rpartition("_")[2]] = content
  numbers = {
    name: math.nan if saved[name] is None else saved[name]
    for name in ("knn_accuracy", "silhouette")
  }
  return Inspection(
    **{field: pictures.get(name) for field, name in _PICTURES.items()},
    **numbers,
    with_batch_statistics=saved["with_batch_statistics"],
    is_multi_label=saved["is_multi_label"],
  )
