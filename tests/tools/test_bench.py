"""The benchmark runs and reports; nothing here depends on its times."""

import importlib.util
import json
import os
import sys

import pytest

from mn_jax.tools import bench as bench_tool
from tests import programs

# It compiles in a second or two.
SMALL = (
  "--model=simple_cnn",
  "--resolution=16",
  "--batch-size=2",
  "--repeats=2",
)


def bench(*arguments):
  done = programs.run("mn_jax.tools.bench", *arguments)
  assert done.returncode == 0, done.stderr
  return done.stdout


def report(*arguments):
  return json.loads(bench(*arguments, "--json"))


def check_side(side, batch):
  assert 0 < side["min_seconds"] <= side["median_seconds"]
  assert side["median_seconds"] <= side["max_seconds"]
  assert side["images_per_sec"] == pytest.approx(batch / side["median_seconds"])
  assert side["compile_seconds"] > 0
  assert side["peak_memory_bytes"] > 1e7
  assert side["percent_of_floor"] > 0
  assert {"python", "numpy"} < set(side["versions"])


@pytest.mark.extended
def test_steps_alone_and_interleaved_with_plain_jax():
  found = report(*SMALL)
  assert found["peer"] is None
  assert found["ratio"] is None
  check_side(found["ours"], 2)
  assert found["ours"]["compiler_memory_bytes"] > 0
  floors = found["floors"]
  assert floors["images_per_sec"] == pytest.approx(
    min(floors["flop_images_per_sec"], floors["byte_images_per_sec"])
  )
  assert found["case"]["mode"] == "train"
  assert "--repeats=2" in found["machine"]["command"]
  assert found["machine"]["cores"] >= 1
  found = report(
    *("--resolution=8", "--batch-size=2", "--repeats=3", "--mode=infer"),
    *("--peer=plain-jax,timm-eager", "--skip-missing"),
    f"--peer-python={sys.executable}",
  )
  check_side(found["peer"], 2)
  assert found["peer"] == found["peers"]["plain-jax"]
  assert found["ratio"] == pytest.approx(
    found["peer"]["median_seconds"] / found["ours"]["median_seconds"]
  )
  low, high = found["peer"]["ratio_interval"]
  assert low <= found["ratio"] <= high
  assert "lacks torch" in found["peers"]["timm-eager"]["failed"]


@pytest.mark.extended
def test_inference_interleaved_with_keras():
  if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed")
  size = ("--resolution=32", "--batch-size=2", "--repeats=2", "--mode=infer")
  found = report(*size, "--peer=keras-jax")
  check_side(found["peer"], 2)
  assert "keras" in found["peer"]["versions"]


@pytest.mark.extended
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_steps_interleaved_with_timm(mode):
  if not os.environ.get("MN_JAX_PEER_PYTHON"):
    pytest.skip("MN_JAX_PEER_PYTHON names no interpreter with torch and timm")
  size = ("--resolution=32", "--batch-size=2", "--repeats=2")
  found = report(*size, f"--mode={mode}", "--peer=timm-eager")
  check_side(found["peer"], 2)
  assert len(found["peer"]["other_variants"]) == 1
  assert {"torch", "timm"} < set(found["peer"]["versions"])


@pytest.mark.extended
def test_operations_as_tables():
  # It has few shapes, and no depthwise convolution.
  size = ("--model=resnet18", "--resolution=8", "--batch-size=1", "--repeats=1")
  text = bench("--of=ops", *size)
  for table in ("pointwise, weight gradient", "norm, forward"):
    assert f"{table}: resnet18, 8 px" in text
  assert text.count("all layers") == 3 + 2


@pytest.mark.extended
def test_every_stage_of_the_input():
  found = report(
    "--of=input",
    "--config=configs/eurosat_v2.py:test",
    "--images=8",
    "--gathered=64",
    "--repeats=2",
  )
  assert found["data"] == "eurosat_sample"
  assert list(found["images_per_sec"]) == [
    "read",
    "decode",
    "resize",
    "decode to size",
    "gather",
    "loader",
    "pack, all of it",
  ]
  for speeds in found["images_per_sec"].values():
    assert len(speeds) == 2
    assert min(speeds) > 0


@pytest.mark.extended
def test_a_run_from_its_start_to_its_end():
  found = report(
    "--of=run",
    "--config=configs/eurosat_v2.py:test",
    "--config.model.name=simple_cnn",
    "--config.data.image_size=16",
    "--config.train.epochs=1.0",
  )
  assert found["steps"] > 1
  assert found["images_per_sec"] > 0
  for share in ("data_wait_share", "step_share", "outside_share"):
    assert 0 <= found[share] <= 1
  assert found["step_share"] + found["outside_share"] == pytest.approx(1)
  assert 0 < found["compile_seconds"] < found["wall_seconds"]
  # A process of its own starts, imports, and takes one step.
  for state in ("cold", "warm"):
    assert 1 < found[f"first_step_{state}_seconds"] < 120


def test_mistakes_are_one_line(capsys):
  for arguments, message in (
    (("--peer=nobody",), "--peer: got 'nobody'; valid: timm-eager, "),
    (("--of=run",), "--config: got nothing with --of=run; valid: "),
    (("--of=input", "--config=nowhere.py"), "config: got 'nowhere.py'"),
    (("--of=ops", "--allocator=jemalloc"), "only side processes"),
    (("--batch-size=0",), "--batch-size: got 0; valid: 1 or more"),
    (("--table=page.html",), "ends .md"),
    (("model",), "got 'model'; valid: SECTION.FIELD"),
  ):
    assert bench_tool.main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.extended
def test_ctrl_c_leaves_no_process_behind():
  errors = programs.interrupt("mn_jax.tools.bench", *SMALL)
  assert errors == "bench: stopped\n"
