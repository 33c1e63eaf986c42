"""Metric writers: TensorBoard and JSON lines, behind clu's interface."""

import json
import math
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Any, override

from mn_jax.data import atomic
from mn_jax.observe.formatting import jsonable

# Both imports below load a framework that is not needed here: clu TensorFlow,
# for its SummaryWriter alone, and tensorboardX PyTorch where it is installed,
# for tensors that are never passed to it. While they are imported, an empty
# class stands in for the former, and None tells that the latter is missing.
_no_summary_writer = types.ModuleType("clu.metric_writers.summary_writer")
_no_summary_writer.SummaryWriter = object
_hidden = {_no_summary_writer.__name__: _no_summary_writer, "torch": None}
_hidden = {k: v for k, v in _hidden.items() if k not in sys.modules}
sys.modules.update(_hidden)

import tensorboardX  # noqa: E402
from clu import metric_writers  # noqa: E402

for _name in _hidden:
  del sys.modules[_name]

MetricWriter = metric_writers.MetricWriter


# Both writers below are a `MultiWriter` of none, which ignores every kind of
# summary that they do not write.
class TensorBoardWriter(metric_writers.MultiWriter):
  """Writes event files for TensorBoard."""

  def __init__(self, logdir: pathlib.Path, *, resume_step: int):
    """Opens a new event file.

    Args:
      logdir: folder of the event files.
      resume_step: step that the run resumes from; TensorBoard hides what an
        earlier attempt wrote after it.
    """
    super().__init__(())
    self._writer = tensorboardX.SummaryWriter(
      str(logdir), purge_step=resume_step + 1
    )

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    for name, value in scalars.items():
      if math.isfinite(value):  # an undefined number leaves a gap
        self._writer.add_scalar(name, float(value), step)

  @override
  def write_images(self, step: int, images: Mapping[str, Any]):
    """Writes arrays u8[h, w, 3]."""
    for name, image in images.items():
      self._writer.add_image(name, image, step, dataformats="HWC")

  @override
  def write_texts(self, step: int, texts: Mapping[str, str]):
    for name, text in texts.items():
      self._writer.add_text(name, text, step)

  @override
  def write_hparams(self, hparams: Mapping[str, Any]):
    rows = "".join(f"|`{k}`|`{v}`|\n" for k, v in hparams.items())
    self._writer.add_text("config", f"|field|value|\n|-|-|\n{rows}", 0)

  @override
  def flush(self):
    self._writer.flush()

  @override
  def close(self):
    self._writer.close()


class JsonLinesWriter(metric_writers.MultiWriter):
  """Writes `metrics.jsonl`: an object for each call, undefined numbers as null.

  A line is complete and in the file before the call returns.
  """

  def __init__(self, path: pathlib.Path, *, resume_step: int):
    """Opens the file; drops what an earlier attempt wrote after a step.

    Args:
      path: of the file.
      resume_step: step that the run resumes from; lines of later steps, and a
        truncated last line, are removed.
    """
    super().__init__(())
    # Test metrics are the last thing that a run writes, and an unfinished run
    # writes them again.
    lines = [
      line
      for line in read_lines(path)
      if line["step"] <= resume_step
      and not any(name.startswith("test/") for name in line)
    ]
    atomic.write_text(path, "".join(_dump(line) for line in lines))
    self._file = path.open("a")

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    values = {name: float(value) for name, value in scalars.items()}
    self._file.write(_dump({"step": int(step), **values}))
    self._file.flush()

  @override
  def flush(self):
    self._file.flush()

  @override
  def close(self):
    self._file.close()


def make_writer(
  workdir: pathlib.Path, *, resume_step: int, first_process: bool
) -> MetricWriter:
  """Returns the writer of a run, which writes in the first process only."""
  if not first_process:
    return metric_writers.MultiWriter([])
  return metric_writers.MultiWriter(
    [
      JsonLinesWriter(workdir / "metrics.jsonl", resume_step=resume_step),
      TensorBoardWriter(workdir / "tensorboard", resume_step=resume_step),
    ]
  )


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the complete lines of a metrics file; [] if there is no file."""
  lines = []
  if path.exists():
    for text in path.read_text().splitlines():
      try:
        lines.append(json.loads(text))
      except ValueError:  # truncated by a kill; nothing after it is valid
        break
  return lines


def _dump(line: Mapping[str, Any]) -> str:
  return json.dumps(jsonable(line)) + "\n"
