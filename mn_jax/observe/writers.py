"""Metric writers: JSON lines and TensorBoard, behind clu's interface.

`metrics.jsonl` is the record of what was logged. TensorBoard's event file shows
the same, and is written anew from it whenever a run resumes.
"""

import hashlib
import io
import json
import math
import os
import pathlib
import socket
import sys
import time
import types
from collections.abc import Iterable, Mapping
from typing import Any, override

from PIL import Image
from tensorboard.compat.proto import (
  event_pb2,
  summary_pb2,
  tensor_pb2,
  types_pb2,
)
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer import record_writer

from mn_jax.data import atomic
from mn_jax.observe import escape
from mn_jax.observe.formatting import count, jsonable

# clu imports TensorFlow for its SummaryWriter alone, which is not needed here:
# while it is imported, an empty class stands in for it.
_no_summary_writer = types.ModuleType("clu.metric_writers.summary_writer")
_no_summary_writer.SummaryWriter = object
_hidden = _no_summary_writer.__name__ not in sys.modules
if _hidden:
  sys.modules[_no_summary_writer.__name__] = _no_summary_writer

from clu import metric_writers  # noqa: E402

if _hidden:
  del sys.modules[_no_summary_writer.__name__]

MetricWriter = metric_writers.MetricWriter

# Of a line's keys these are no metrics; 'time' is in seconds since 1970.
STEP, TIME = "step", "time"


# Both writers below are a `MultiWriter` of none, which ignores every kind of
# summary that they do not write.
class TensorBoardWriter(metric_writers.MultiWriter):
  """Writes an event file for TensorBoard, without a thread or a queue.

  An event is complete and in the file before the call returns.
  """

  def __init__(
    self, logdir: pathlib.Path, lines: Iterable[Mapping[str, Any]] = ()
  ):
    """Replaces the event files by a new one.

    Args:
      logdir: folder of the event files.
      lines: of `metrics.jsonl`, which the new file starts with.
    """
    super().__init__(())
    logdir.mkdir(parents=True, exist_ok=True)
    earlier = sorted(logdir.glob("events.out.tfevents.*"))
    # A TensorBoard that is open goes on to a name that comes later.
    name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
    self._file = (logdir / name).open("wb")
    self._records = record_writer.RecordWriter(self._file)
    self._write(event_pb2.Event(file_version="brain.Event:2"))
    # It hides what it has read from earlier files.
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(event_pb2.Event(session_log=start))
    for line in lines:
      self._write_line(line)
    self._file.flush()
    for path in earlier[:-1]:
      path.unlink()
    for path in earlier[-1:]:  # it would wait for ever for one that is gone
      os.truncate(path, 0)

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    values = {name: float(value) for name, value in scalars.items()}
    self._write_line({STEP: int(step), **values})
    self._file.flush()

  @override
  def write_images(self, step: int, images: Mapping[str, Any]):
    """Writes arrays u8[h, w, 3]."""
    for name, image in images.items():
      encoded = io.BytesIO()
      Image.fromarray(image).save(encoded, "PNG")
      content = summary_pb2.Summary.Image(
        height=image.shape[0],
        width=image.shape[1],
        colorspace=image.shape[2],
        encoded_image_string=encoded.getvalue(),
      )
      self._write_values(
        step, [summary_pb2.Summary.Value(tag=name, image=content)]
      )
    self._file.flush()

  @override
  def write_texts(self, step: int, texts: Mapping[str, str]):
    for name, text in texts.items():
      content = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING,
        string_val=[text.encode(errors="backslashreplace")],
      )
      value = summary_pb2.Summary.Value(
        tag=f"{name}/text_summary",
        metadata=text_metadata.create_summary_metadata("", ""),
        tensor=content,
      )
      self._write_values(step, [value])
    self._file.flush()

  @override
  def write_hparams(self, hparams: Mapping[str, Any]):
    text = escape.markdown
    rows = "".join(f"|{text(k)}|{text(str(v))}|\n" for k, v in hparams.items())
    self.write_texts(0, {"config": f"|field|value|\n|-|-|\n{rows}"})

  @override
  def flush(self):
    os.fsync(self._file.fileno())

  @override
  def close(self):
    self._file.close()

  def _write_line(self, line: Mapping[str, Any]) -> None:
    values = [
      summary_pb2.Summary.Value(tag=name, simple_value=value)
      for name, value in metrics(line).items()
      if math.isfinite(value)  # an undefined number leaves a gap
    ]
    self._write_values(line[STEP], values, line.get(TIME))

  def _write_values(
    self,
    step: int,
    values: list[summary_pb2.Summary.Value],
    seconds: float | None = None,
  ) -> None:
    summary = summary_pb2.Summary(value=values)
    self._write(event_pb2.Event(step=step, summary=summary), seconds)

  def _write(
    self, event: event_pb2.Event, seconds: float | None = None
  ) -> None:
    event.wall_time = time.time() if seconds is None else seconds
    self._records.write(event.SerializeToString())


class JsonLinesWriter(metric_writers.MultiWriter):
  """Writes `metrics.jsonl`: an object for each call, undefined numbers as null.

  A line is complete and in the file before the call returns.
  """

  def __init__(
    self, path: pathlib.Path, lines: Iterable[Mapping[str, Any]] = ()
  ):
    """Replaces the file.

    Args:
      path: of the file.
      lines: that the new file starts with.
    """
    super().__init__(())
    text = "".join(map(_dump, lines))
    atomic.write_text(path, text)
    self._digest = hashlib.sha256(text.encode())
    self._file = path.open("ab")

  @property
  def sha256(self) -> str:
    """Digest of all lines, in hexadecimal."""
    return self._digest.hexdigest()

  @override
  def write_scalars(self, step: int, scalars: Mapping[str, Any]):
    values = {name: float(value) for name, value in scalars.items()}
    stamp = {STEP: int(step), TIME: round(time.time(), 3)}
    line = _dump(stamp | values).encode()
    self._file.write(line)
    self._file.flush()
    self._digest.update(line)

  @override
  def flush(self):
    os.fsync(self._file.fileno())

  @override
  def close(self):
    self._file.close()


class RunWriter(metric_writers.MultiWriter):
  """Writes both files of a run, or none.

  Attributes:
    damage: what is wrong with the lines that were there, or ''.
  """

  def __init__(
    self,
    workdir: pathlib.Path | None,
    *,
    resume_step: int,
    repeated: str,
    sha256: str = "",
  ):
    """Opens the files; drops what the run will write again.

    Args:
      workdir: of the run; None for all processes of a run but the first, which
        write nothing.
      resume_step: step that it resumes from; lines of later steps are dropped.
      repeated: prefix of metrics that are written again after the last step;
        '' if there are none.
      sha256: of the lines up to that step; '' if it is not known.
    """
    super().__init__([])
    self.damage = ""
    if workdir is None:
      return
    path = workdir / "metrics.jsonl"
    lines, unreadable = _read(path)
    lines = [
      line
      for line in lines
      if line[STEP] <= resume_step
      and not (repeated and any(name.startswith(repeated) for name in line))
    ]
    self._writers = (
      JsonLinesWriter(path, lines),
      TensorBoardWriter(workdir / "tensorboard", lines),
    )
    if unreadable or sha256 not in ("", self.sha256):
      self.damage = _describe(path, unreadable)

  @property
  def sha256(self) -> str:
    """Digest of the lines of `metrics.jsonl`, in hexadecimal; '' of none."""
    return self._writers[0].sha256 if self._writers else ""


def damage(path: pathlib.Path, sha256: str) -> str:
  """Says what is wrong with a metrics file, or ''.

  Args:
    path: of the file.
    sha256: of all of its lines, as `RunWriter` had it at the end.
  """
  content = path.read_bytes() if path.exists() else b""
  if hashlib.sha256(content).hexdigest() == sha256:
    return ""
  return _describe(path, _read(path)[1])


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the lines of a metrics file that can be read; [] without a file."""
  return _read(path)[0]


def metrics(line: Mapping[str, Any]) -> dict[str, float]:
  """Returns the metrics of a line that are numbers, undefined ones left out."""
  return {
    name: float(value)
    for name, value in line.items()
    if name not in (STEP, TIME) and isinstance(value, int | float)
  }


def _describe(path: pathlib.Path, unreadable: int) -> str:
  what = "lines are missing or changed"
  if unreadable:
    what = f"{count(unreadable, 'line')} cannot be read, the others are kept"
  return f"{path} is not what the run wrote: {what}"


def _read(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
  """The lines that can be read, and the number of those that cannot.

  What a kill leaves of the last line, which has no end, counts as neither.
  """
  if not path.exists():
    return [], 0
  *texts, last = path.read_bytes().split(b"\n")
  lines = [_parse(text) for text in texts]
  damaged = lines.count(None)
  lines.append(_parse(last))
  return [line for line in lines if line is not None], damaged


def _parse(text: bytes) -> dict[str, Any] | None:
  """A line of `metrics.jsonl`; None if it is not what a run writes."""
  try:
    line = json.loads(text.decode())
    step, seconds = line[STEP], line.get(TIME, 0.0)
    metrics(line)
  except (ArithmeticError, AttributeError, LookupError, RecursionError):
    return None
  except (TypeError, ValueError):
    return None
  known = type(step) is int and 0 <= step < 2**63 and type(seconds) is float
  return line if known else None


def _dump(line: Mapping[str, Any]) -> str:
  return json.dumps(jsonable(line)) + "\n"
