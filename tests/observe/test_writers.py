"""Tests of the metric writers; TensorBoard's own reader is the oracle."""

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


def _write_steps(path, steps, *, resume_step: int = 0) -> None:
  writer = writers.JsonLinesWriter(path, resume_step=resume_step)
  for step in steps:
    writer.write_scalars(step, {"a": step / 2})
  writer.close()


def test_json_lines_are_in_the_file_before_the_call_returns(tmp_path):
  """Undefined numbers are null."""
  path = tmp_path / "metrics.jsonl"
  writer = writers.JsonLinesWriter(path, resume_step=0)
  writer.write_scalars(1, {"train/loss": np.float32(0.5), "n": 3})
  assert path.read_text() == '{"step": 1, "train/loss": 0.5, "n": 3.0}\n'
  values = {"a": math.nan, "b": np.float32(np.inf), "c": -np.inf, "d": 0.0}
  writer.write_scalars(np.int64(2), values)
  expected = {"step": 2, "a": None, "b": None, "c": None, "d": 0.0}
  assert _strict(path.read_text())[1] == expected
  writer.close()


def test_a_resumed_run_drops_the_lines_after_its_step(tmp_path):
  path = tmp_path / "metrics.jsonl"
  _write_steps(path, [1, 2, 2, 3, 4])
  _write_steps(path, [3], resume_step=2)
  assert [line["step"] for line in writers.read_lines(path)] == [1, 2, 2, 3]
  assert {p.name for p in tmp_path.iterdir()} == {"metrics.jsonl"}
  _write_steps(path, [], resume_step=0)
  assert path.read_text() == ""


def test_truncated_lines_are_dropped(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert writers.read_lines(path) == []
  for torn in ('{"step": 3, "a"', "{", '{"step": 3}{', '{"st\n{"step": 2}\n'):
    path.write_text('{"step": 1}\n{"step": 2}\n' + torn)
    assert [line["step"] for line in writers.read_lines(path)] == [1, 2]
    _write_steps(path, [3], resume_step=2)
    assert [line["step"] for line in _strict(path.read_text())] == [1, 2, 3]
  path.write_text('{"step": 1}\n{"step": 2}')  # complete, without newline
  _write_steps(path, [3], resume_step=2)
  assert [line["step"] for line in _strict(path.read_text())] == [1, 2, 3]


def test_tensorboard_reads_the_scalars(tmp_path):
  writer = writers.TensorBoardWriter(tmp_path, resume_step=0)
  writer.write_scalars(1, {"train/loss": 0.5, "val/auroc": np.float32(0.25)})
  # Undefined numbers leave a gap.
  writer.write_scalars(2, {"train/loss": math.nan, "val/auroc": np.inf})
  writer.write_scalars(3, {"train/loss": 0.125})
  writer.close()
  assert _scalars(tmp_path, "val/auroc") == [(1, 0.25)]
  assert _scalars(tmp_path, "train/loss") == [(1, 0.5), (3, 0.125)]


def test_tensorboard_hides_repeated_steps(tmp_path):
  attempts = (([1, 2, 3, 4], 0, 1.0), ([3, 4, 5], 2, 2.0))
  for steps, resume_step, value in attempts:
    writer = writers.TensorBoardWriter(tmp_path, resume_step=resume_step)
    for step in steps:
      writer.write_scalars(step, {"a": value})
    writer.close()
    if not resume_step:
      # The name is the time in seconds, which is the same for both here.
      (path,) = tmp_path.iterdir()
      path.rename(path.with_name("events.out.tfevents.1000000000.host"))
  assert _scalars(tmp_path, "a") == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)]


def test_tensorboard_reads_the_images(tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
  writer = writers.TensorBoardWriter(tmp_path, resume_step=0)
  writer.write_images(4, {"one": image})
  writer.close()
  (event,) = _tensorboard(tmp_path).Images("one")
  assert event.step == 4
  with Image.open(io.BytesIO(event.encoded_image_string)) as read:
    np.testing.assert_array_equal(read, image)


def test_tensorboard_reads_text_and_the_config(tmp_path):
  writer = writers.TensorBoardWriter(tmp_path, resume_step=0)
  writer.write_texts(0, {"parameters": "12 of them"})
  writer.write_hparams({"seed": 3, "model": {"width": 0.5}})
  writer.close()
  events = _tensorboard(tmp_path)
  (text,) = events.Tensors("parameters/text_summary")
  assert text.tensor_proto.string_val == [b"12 of them"]
  (config,) = events.Tensors("config/text_summary")
  table = config.tensor_proto.string_val[0].decode()
  assert table.startswith("|field|value|\n|-|-|\n")
  assert "|`seed`|`3`|" in table


def test_make_writer_writes_both_files(tmp_path):
  writer = writers.make_writer(tmp_path, resume_step=0, first_process=True)
  writer.write_scalars(1, {"a": 1.0})
  writer.write_images(1, {"i": np.zeros((2, 2, 3), np.uint8)})
  writer.write_texts(1, {"t": "text"})
  writer.write_hparams({"seed": 1})
  writer.write_histograms(1, {"h": np.zeros(3)})  # ignored
  writer.flush()
  writer.close()
  lines = _strict((tmp_path / "metrics.jsonl").read_text())
  assert lines == [{"step": 1, "a": 1.0}]
  assert _scalars(tmp_path / "tensorboard", "a") == [(1, 1.0)]
  # Other processes write nothing.
  folder = tmp_path / "other"
  writer = writers.make_writer(folder, resume_step=0, first_process=False)
  writer.write_scalars(1, {"a": 1.0})
  writer.close()
  assert not folder.exists()


def test_tensorflow_and_pytorch_are_not_imported():
  program = (
    "import sys; from mn_jax.observe import writers; "
    "print([m for m in ('tensorflow', 'torch') if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout == "[]\n"
