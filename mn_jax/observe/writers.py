"""Metric writers: TensorBoard and JSON lines, behind clu's interface.

`clu.metric_writers` imports TensorFlow for one class, its SummaryWriter. A
stand-in for that module, registered before the package is first imported,
keeps TensorFlow out of training. This file's own writer writes the same event
files through tensorboardX.
"""

import json
import math
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Any, override

import numpy as np

from mn_jax.data import atomic

_stand_in = types.ModuleType("clu.metric_writers.summary_writer")
_stand_in.SummaryWriter = object
sys.modules.setdefault(_stand_in.__name__, _stand_in)

from clu import metric_writers  # noqa: E402  (after the stand-in)

# tensorboardX imports PyTorch where it is installed, for tensors that never
# come here. An entry of None says that there is none; a PyTorch that is loaded
# already stays.
_torch_was_absent = sys.modules.setdefault("torch", None) is None
import tensorboardX  # noqa: E402

if _torch_was_absent:
  del sys.modules["torch"]

MetricWriter = metric_writers.MetricWriter


class TensorBoardWriter(MetricWriter):
  """Event files for TensorBoard."""

  def __init__(self, logdir: pathlib.Path, *, resume_step: int):
    """Opens a new event file.

    Args:
      logdir: folder of the event files.
      resume_step: TensorBoard hides what an earlier attempt wrote after it.
    """
    self._writer = tensorboardX.SummaryWriter(
      str(logdir), purge_step=resume_step + 1
    )

  @override
  def write_summaries(self, step, values, metadata=None):
    raise ValueError("raw summaries are TensorFlow protos; none are written")

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    for name, value in scalars.items():
      if math.isfinite(value):  # an undefined number leaves a gap
        self._writer.add_scalar(name, float(value), step)

  @override
  def write_images(self, step: int, images: Mapping[str, Any]):
    """Writes arrays [n, h, w, 3] or [h, w, 3], u8 or f32 in [0, 1]."""
    for name, image in images.items():
      image = np.asarray(image)
      if image.ndim == 4:
        self._writer.add_images(name, image, step, dataformats="NHWC")
      else:
        self._writer.add_image(name, image, step, dataformats="HWC")

  @override
  def write_texts(self, step: int, texts: Mapping[str, str]):
    for name, text in texts.items():
      self._writer.add_text(name, text, step)

  @override
  def write_histograms(self, step: int, arrays, num_buckets=None):
    for name, array in arrays.items():
      bins = (num_buckets or {}).get(name) or "tensorflow"
      self._writer.add_histogram(name, np.asarray(array), step, bins)

  @override
  def write_hparams(self, hparams: Mapping[str, Any]):
    rows = "".join(f"|`{k}`|`{v}`|\n" for k, v in hparams.items())
    self._writer.add_text("config", f"|field|value|\n|-|-|\n{rows}", 0)

  @override
  def write_videos(self, step, videos):
    raise ValueError("videos are not written")

  @override
  def write_audios(self, step, audios, *, sample_rate):
    raise ValueError("sounds are not written")

  @override
  def flush(self):
    self._writer.flush()

  @override
  def close(self):
    self._writer.close()


class JsonLinesWriter(MetricWriter):
  """`metrics.jsonl`: one object per step and write, undefined numbers null.

  A line is complete and in the file before the call returns.
  """

  def __init__(self, path: pathlib.Path, *, resume_step: int):
    """Opens the file; drops what an earlier attempt wrote after a step.

    Args:
      path: of the file.
      resume_step: lines of later steps, and a torn last line, are removed.
    """
    # A run that is opened has not ended, so its test, the last thing it does,
    # is repeated too.
    kept = [
      line
      for line in read_lines(path)
      if line["step"] <= resume_step
      and not any(name.startswith("test/") for name in line)
    ]
    atomic.write_text(path, "".join(_dump(line) for line in kept))
    self._file = path.open("a")

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    values = {name: float(value) for name, value in scalars.items()}
    self._file.write(_dump({"step": int(step), **values}))
    self._file.flush()

  @override
  def write_summaries(self, step, values, metadata=None):
    pass

  @override
  def write_images(self, step, images):
    pass

  @override
  def write_texts(self, step, texts):
    pass

  @override
  def write_histograms(self, step, arrays, num_buckets=None):
    pass

  @override
  def write_hparams(self, hparams):
    pass

  @override
  def write_videos(self, step, videos):
    pass

  @override
  def write_audios(self, step, audios, *, sample_rate):
    pass

  @override
  def flush(self):
    self._file.flush()

  @override
  def close(self):
    self._file.close()


def make_writer(
  workdir: pathlib.Path, *, resume_step: int, first_process: bool
) -> MetricWriter:
  """The writer of a run; only the first process writes anything."""
  if not first_process:
    return metric_writers.MultiWriter([])
  return metric_writers.MultiWriter(
    [
      JsonLinesWriter(workdir / "metrics.jsonl", resume_step=resume_step),
      TensorBoardWriter(workdir / "tensorboard", resume_step=resume_step),
    ]
  )


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """The complete lines of a metrics file; none if there is no file."""
  lines = []
  if path.exists():
    for text in path.read_text().splitlines():
      try:
        lines.append(json.loads(text))
      except ValueError:  # torn by a killed process; what follows is not ours
        break
  return lines


def jsonable(values: Any) -> Any:
  """The same with undefined numbers as None, which JSON can hold.

  Args:
    values: mappings and sequences of numbers and words, nested as deep as one
      likes.
  """
  if isinstance(values, Mapping):
    return {name: jsonable(value) for name, value in values.items()}
  if isinstance(values, list | tuple):
    return [jsonable(value) for value in values]
  undefined = isinstance(values, float) and not math.isfinite(values)
  return None if undefined else values


def _dump(line: Mapping[str, Any]) -> str:
  return json.dumps(jsonable(line)) + "\n"
