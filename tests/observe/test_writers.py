"""Tests of the metric writers; TensorBoard's own reader is the oracle."""

import hashlib
import io
import json
import math
import subprocess
import sys

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from mn_jax.observe import writers


def _tensorboard(logdir) -> event_accumulator.EventAccumulator:
  events = event_accumulator.EventAccumulator(
    str(logdir),
    size_guidance=dict.fromkeys(("scalars", "images", "tensors"), 0),
  )
  return events.Reload()


def _scalars(logdir, name: str) -> list[tuple[int, float]]:
  return [(e.step, e.value) for e in _tensorboard(logdir).Scalars(name)]


def _strict(text: str) -> list[dict]:
  """Lines of JSON as its standard has it, without NaN."""

  def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")

  return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def _open(workdir, resume_step=0, repeated="test/", **options):
  return writers.RunWriter(
    workdir, resume_step=resume_step, repeated=repeated, **options
  )


def _write_steps(workdir, steps, **options) -> str:
  """Writes a line for each step; returns the digest of all lines."""
  writer = _open(workdir, **options)
  for step in steps:
    writer.write_scalars(step, {"a": step / 2})
  writer.close()
  return writer.sha256


def _steps(workdir) -> list[int]:
  """Of the lines, which TensorBoard has as well."""
  lines = _strict((workdir / "metrics.jsonl").read_text())
  points = [(line["step"], line["a"]) for line in lines]
  assert _scalars(workdir / "tensorboard", "a") == points
  assert len(list((workdir / "tensorboard").iterdir())) <= 2
  return [step for step, _ in points]


def test_json_lines_are_in_the_file_before_the_call_returns(
  tmp_path, monkeypatch
):
  """Undefined numbers are null."""
  monkeypatch.setattr(writers.time, "time", lambda: 1.2345)
  path = tmp_path / "metrics.jsonl"
  writer = writers.JsonLinesWriter(path)
  writer.write_scalars(1, {"train/loss": np.float32(0.5), "n": 3})
  assert path.read_text() == (
    '{"step": 1, "time": 1.234, "train/loss": 0.5, "n": 3.0}\n'
  )
  values = {"a": math.nan, "b": np.float32(np.inf), "c": -np.inf, "d": 0.0}
  writer.write_scalars(np.int64(2), values)
  expected = {"a": None, "b": None, "c": None, "d": 0.0}
  assert _strict(path.read_text())[1] == {"step": 2, "time": 1.234, **expected}
  writer.close()


def test_a_resumed_run_drops_what_it_writes_again(tmp_path):
  _write_steps(tmp_path, [1, 2, 2, 3, 4])
  assert _steps(tmp_path) == [1, 2, 2, 3, 4]
  _write_steps(tmp_path, [3], resume_step=2)
  assert _steps(tmp_path) == [1, 2, 2, 3]
  for repeated, kept in (("", 2), ("test/", 1)):
    writer = _open(tmp_path / "b")
    writer.write_scalars(1, {"val/a": 1})
    writer.write_scalars(1, {"test/a": 1})
    writer.close()
    _open(tmp_path / "b", 1, repeated=repeated).close()
    lines = writers.read_lines(tmp_path / "b" / "metrics.jsonl")
    assert len(lines) == kept
  _write_steps(tmp_path, [])
  assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_times_of_points_survive_a_restart(tmp_path, monkeypatch):
  monkeypatch.setattr(writers.time, "time", lambda: 1e9)
  _write_steps(tmp_path, [1, 2])
  monkeypatch.setattr(writers.time, "time", lambda: 2e9)
  _write_steps(tmp_path, [2], resume_step=1)
  events = _tensorboard(tmp_path / "tensorboard").Scalars("a")
  assert [event.wall_time for event in events] == [1e9, 2e9]


def test_damaged_lines_are_left_out_and_counted(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert writers.read_lines(path) == []
  first, last = b'{"step": 1, "a": 0.5}\n', b'{"step": 2, "a": 1.0}\n'
  for damage, count in (
    (b'{"st\n', 1),
    (b"\n\x00\xff\n", 2),
    (b'{"step": 3}{\n', 1),
    (b"[1]\n1\nnull\n" + b"[" * 10**5 + b"\n", 4),
    (b'{"a": 1}\n{"step": "2"}\n{"step": -1}\n{"step": true}\n', 4),
    (b'{"step": 2, "a": %s}\n' % (b"9" * 400), 1),
    (b'{"step": 2, "time": null}\n{"step": 2.0}\n', 2),
  ):
    # A last line without an end is what a kill leaves of it.
    for torn in (b"", b'{"step": 3, "a"', b"{", b"\xc3"):
      path.write_bytes(first + damage + last + torn)
      assert [line["step"] for line in writers.read_lines(path)] == [1, 2]
      writer = _open(tmp_path, resume_step=2)
      number = f"{count} line{'s' if count > 1 else ''} cannot be read"
      assert writer.damage == (
        f"{path} is not what the run wrote: {number}, the others are kept"
      )
      writer.close()
      assert path.read_bytes() == first + last
  path.write_bytes(first + last[:-1])  # complete, without newline
  _write_steps(tmp_path, [3], resume_step=2)
  assert _steps(tmp_path) == [1, 2, 3]


def test_lines_that_are_missing_or_changed_are_noticed(tmp_path):
  path = tmp_path / "metrics.jsonl"
  digest = _write_steps(tmp_path, [1, 2])
  _write_steps(tmp_path, [3], resume_step=2)
  intact = path.read_bytes()
  lines = intact.splitlines(keepends=True)
  for content, changed in (
    (intact, False),
    (intact + b"{", False),
    (lines[1], True),
    (b"", True),
    (intact.replace(b"0.5", b"0.7"), True),
    (lines[0] + intact, True),
  ):
    path.write_bytes(content)
    writer = _open(tmp_path, resume_step=2, sha256=digest)
    writer.close()
    assert writer.damage.endswith("are missing or changed" if changed else "")
    assert bool(writer.damage) == changed
    path.write_bytes(content)
    sha256 = hashlib.sha256(intact).hexdigest()
    assert bool(writers.damage(path, sha256)) == (content != intact)
  path.unlink()
  assert "missing or changed" in writers.damage(path, digest)


def test_tensorboard_reads_the_scalars(tmp_path):
  writer = writers.TensorBoardWriter(tmp_path)
  writer.write_scalars(1, {"train/loss": 0.5, "val/auroc": np.float32(0.25)})
  # Undefined numbers leave a gap.
  writer.write_scalars(2, {"train/loss": math.nan, "val/auroc": np.inf})
  writer.write_scalars(3, {"train/loss": 0.125})
  writer.close()
  assert _scalars(tmp_path, "val/auroc") == [(1, 0.25)]
  assert _scalars(tmp_path, "train/loss") == [(1, 0.5), (3, 0.125)]


def test_points_are_in_the_file_before_the_call_returns(tmp_path):
  """So a kill loses none, and TensorBoard shows them at once."""
  writer = writers.TensorBoardWriter(tmp_path)
  for step in range(1, 101):
    writer.write_scalars(step, {"a": step})
  assert len(_scalars(tmp_path, "a")) == 100
  writer.close()


def test_an_open_tensorboard_follows_a_restart(tmp_path):
  first = writers.TensorBoardWriter(tmp_path)
  for step in (1, 2, 3, 4):
    first.write_scalars(step, {"a": 1.0})
  events = _tensorboard(tmp_path)
  lines = [{"step": step, "a": 1.0} for step in (1, 2)]
  second = writers.TensorBoardWriter(tmp_path, lines)
  for step in (3, 4, 5):
    second.write_scalars(step, {"a": 2.0})
  points = [(e.step, e.value) for e in events.Reload().Scalars("a")]
  assert points == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]
  first.close()
  second.close()


def test_tensorboard_reads_the_images(tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
  writer = writers.TensorBoardWriter(tmp_path)
  writer.write_images(4, {"one": image})
  writer.close()
  (event,) = _tensorboard(tmp_path).Images("one")
  assert event.step == 4
  with Image.open(io.BytesIO(event.encoded_image_string)) as read:
    np.testing.assert_array_equal(read, image)


def test_tensorboard_reads_text_and_the_config(tmp_path):
  writer = writers.TensorBoardWriter(tmp_path)
  writer.write_texts(0, {"parameters": "12 of them"})
  writer.write_hparams({"seed": 3, "model": {"width": 0.5}})
  writer.close()
  events = _tensorboard(tmp_path)
  (text,) = events.Tensors("parameters/text_summary")
  assert text.tensor_proto.string_val == [b"12 of them"]
  (config,) = events.Tensors("config/text_summary")
  table = config.tensor_proto.string_val[0].decode()
  assert table.startswith("|field|value|\n|-|-|\n")
  assert "|seed|3|" in table


def test_a_run_writes_both_files(tmp_path):
  writer = _open(tmp_path)
  writer.write_scalars(1, {"a": 1.0})
  writer.write_images(1, {"i": np.zeros((2, 2, 3), np.uint8)})
  writer.write_texts(1, {"t": "text"})
  writer.write_hparams({"seed": 1})
  writer.write_histograms(1, {"h": np.zeros(3)})  # ignored
  writer.flush()
  writer.close()
  assert _steps(tmp_path) == [1]
  # Other processes write nothing.
  writer = _open(None)
  writer.write_scalars(1, {"a": 1.0})
  writer.close()
  assert writer.sha256 == ""


def test_tensorflow_and_pytorch_are_not_imported():
  program = (
    "import sys; from mn_jax.observe import writers; "
    "print([m for m in ('tensorflow', 'torch') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
