"""`mn-jax export`: judged files, a report of them, and what is refused."""

import dataclasses
import json
import shutil

import pytest
from PIL import Image

from mn_jax import api
from mn_jax.errors import InputError, RunError
from mn_jax.export import files, judgement, results, stablehlo
from mn_jax.models import registry
from mn_jax.run import records, reopen
from mn_jax.tools import export, report
from tests.export import toy_networks as toy
from tests.weights import toy_h5

pytestmark = pytest.mark.usefixtures("standard_promotion")
LITTLE = ("--to=stablehlo", "--turns=0")
NAME = "simple_cnn_0.125"  # that of the files


@pytest.fixture
def start(run, tmp_path, capsys, monkeypatch):
  """Exports a run into a folder; returns the code and what was printed."""
  monkeypatch.setenv("COLUMNS", "80")

  def start(*arguments, workdir=run, output=tmp_path / "out"):
    first = [f"--workdir={workdir}"] if workdir else []
    last = [f"--output={output}"] if output else []
    code = export.main([*first, *map(str, arguments), *last])
    return code, *capsys.readouterr()

  return start


def test_files_are_judged_on_validation_and_test(run, start, tmp_path):
  code, out, err = start(*LITTLE, "--precision=float32,float16")
  assert (code, err) == (0, "")
  folder = tmp_path / "out"
  names = [f"{NAME}-{x}.stablehlo" for x in ("float32", "float16")]
  assert {path.name for path in folder.iterdir()} == {
    *names,
    *(f"{name}.json" for name in names),
    "report.json",
  }
  summary = records.read_summary(run)
  entries = results.read(folder)
  assert {*entries} == {*names}
  exact = entries[names[0]]
  assert exact["precision"] == "float32"
  assert exact["bytes"] == (folder / names[0]).stat().st_size
  assert {*exact["parts"]} == {"val", "test"}
  for part, verdict in exact["parts"].items():
    assert verdict["changed"] == 0
    assert verdict["images"] == summary[f"{part}/count"]
    for name in ("accuracy", "auroc"):
      value = verdict["before"][name]
      assert value == pytest.approx(summary[f"{part}/{name}"], abs=1e-3)
  for part in ("val", "test"):
    assert f"Answers on {part}, " in out
  table = [line for line in out.splitlines() if line.startswith(("│", "┃"))]
  assert table
  assert max(map(len, table)) <= 80
  described = json.loads((folder / f"{names[0]}.json").read_text())
  assert described["weights"]["step"] == reopen.open_run(run).step
  assert described["classes"] == list(api.load(run).classes)


def test_a_second_call_keeps_what_is_still_true(start, tmp_path):
  folder = tmp_path / "out"
  assert start(*LITTLE, "--precision=float32,float16")[0] == 0
  first = results.read(folder)
  (folder / f"{NAME}-float16.stablehlo").write_bytes(b"another")
  assert start(*LITTLE, "--precision=int8_weights", "--force")[0] == 0
  second = results.read(folder)
  kept, added = (f"{NAME}-{x}.stablehlo" for x in ("float32", "int8_weights"))
  assert {*second} == {kept, added}
  assert second[kept] == first[kept]
  (folder / "report.json").write_text("{")
  assert start(*LITTLE)[0] == 0
  assert {*results.read(folder)} == {kept}


def test_an_8_bit_file_that_loses_too_much_is_not_written(
  start, tmp_path, monkeypatch
):
  # What it is, tests/export/test_judgement.py tests.
  monkeypatch.setattr(judgement.Verdict, "loss", property(lambda x: 0.25))
  folder, name = tmp_path / "out", f"{NAME}-int8_weights.stablehlo"
  arguments = (*LITTLE, "--precision=int8_weights,float32")
  code, out, err = start(*arguments)
  assert code == 1
  assert err.count("\n") == 1
  assert err.startswith(f"export: {name} was not written: it loses 0.25")
  assert "balanced accuracy on val" in err
  assert "--max-loss=0.01; --force writes it" in err
  assert f"{NAME}-float32.stablehlo" in out
  # They are in the tables, but not among the files.
  assert out.count("│ stablehlo int8_weights* ") == 3
  assert "*: refused and not written." in " ".join(out.split())
  assert f"File: {folder / name}" not in out
  assert not list(folder.glob("*int8*"))
  assert "earlier" not in err
  assert start(*arguments, "--max-loss=1")[0] == 0
  err = start(*arguments)[2]
  assert "; an earlier file of this name is still there" in err
  (folder / name).unlink()
  assert start(*arguments, "--force")[0] == 0
  assert results.read(folder)[name]["parts"]["val"]["loss"] == 0.25


def test_what_cannot_be_is_refused_before_anything_is_opened(
  start, monkeypatch
):
  monkeypatch.setattr(export.exported_network, "opened", None)
  code, _, err = start(
    "--to=litert,onnx,stablehlo", "--precision=float32,int8_full"
  )
  assert code == 2
  assert "precision: got 'int8_full' for stablehlo, whose products" in err
  assert err.count("\n") == 1


def test_a_failure_takes_nothing_from_other_files(start, tmp_path, monkeypatch):
  def make(source, options, **given):
    if options.precision == "float16":
      raise InputError("precision: got float16, in which it overflows")
    return real(source, options, **given)

  def fail(*_, **__):
    raise RunError("latency: its process failed")

  real = stablehlo.export
  monkeypatch.setattr(stablehlo, "export", make)
  monkeypatch.setattr(export.latency, "measure", fail)
  code, out, err = start(
    "--to=stablehlo", "--precision=float16,float32", "--turns=1"
  )
  assert code == 1
  assert err == (
    "export: stablehlo float16 was not written: precision: got float16, in "
    "which it overflows; stablehlo was not timed: latency: its process failed\n"
  )
  name = f"{NAME}-float32.stablehlo"
  assert [*results.read(tmp_path / "out")] == [name]
  assert "│ stablehlo float32 " in out
  assert f"File: {tmp_path / 'out' / name}" in out


def test_a_full_disk_leaves_what_is_known_of_earlier_files(
  start, tmp_path, monkeypatch
):
  def write(file, path):
    if file.options.precision == "float16":
      raise OSError(28, "No space left on device")
    return real(file, path)

  real = files.write
  monkeypatch.setattr(files, "write", write)
  code, out, err = start(*LITTLE, "--precision=float32,float16")
  assert (code, err) == (1, "export: No space left on device\n")
  assert f"File: {tmp_path / 'out' / NAME}-float32.stablehlo" in out
  assert "float16" not in out


@pytest.mark.extended
def test_a_run_has_a_folder_of_exports_and_a_page(run, start, tmp_path):
  copy = shutil.copytree(run, tmp_path / "copy")
  code, out, err = start(
    "--to=stablehlo", "--turns=2", workdir=copy, output=None
  )
  assert (code, err) == (0, "")
  entry = results.read(copy / "export")[f"{NAME}-float32.stablehlo"]
  times = entry["latency"]["batches"]
  assert {*times} == {"1", "8"}
  for found in times.values():
    assert found["milliseconds"] > 0
    assert found["to_network"]["low"] <= found["to_network"]["value"]
    assert found["to_float32"] is None
    assert found["turns"] == 2
  assert "ms of 1" in out
  assert report.main([str(copy), "--numbers"]) == 0
  page = (copy / "report" / "report.html").read_text()
  assert "Exported files" in page
  assert "Their answers on test, " in page
  assert "stablehlo float32" in page


def test_sizes_batches_and_inputs_are_options(start, tmp_path):
  for arguments, shape, dtype in (
    (["--batch=2", "--input-size=40x50"], [2, 40, 50, 3], "uint8"),
    (
      ["--batch=any", "--input-size=any"],
      ["batch", "height", "width", 3],
      "uint8",
    ),
    (["--input=normalised"], ["batch", 32, 32, 3], "float32"),
  ):
    code, _, err = start(*LITTLE, *arguments)
    assert (code, err) == (0, "")
    path = tmp_path / "out" / f"{NAME}-float32.stablehlo.json"
    found = json.loads(path.read_text())["input"]
    assert (found["shape"], found["dtype"]) == (shape, dtype)


def test_calibration_images_are_of_training(start, tmp_path, monkeypatch):
  """Whatever the format does with them."""
  given = {}

  def make(source, options, *, description, calibration=None):
    given[options.precision] = calibration
    options = dataclasses.replace(options, precision="float32")
    return real(source, options, description=description)

  real = stablehlo.export
  monkeypatch.setattr(stablehlo, "export", make)
  monkeypatch.setitem(files.PRECISIONS_OF, "stablehlo", files.PRECISIONS)
  code, _, err = start(
    *LITTLE, "--precision=float32,int8_full", "--calibration-images=5"
  )
  assert (code, err) == (0, "")
  assert given["float32"] is None
  assert given["int8_full"].shape == (5, 32, 32, 3)
  name = f"{NAME}-int8_full.stablehlo"
  entry = results.read(tmp_path / "out")[name]
  assert entry["calibration"] == {"images": 5, "part": "train"}


def test_unjudged_files_need_no_images(run, start, tmp_path):
  copy = shutil.copytree(run, tmp_path / "copy")
  code, out, err = start(
    "--to=stablehlo", "--unjudged", "data.path=/nowhere", workdir=copy
  )
  assert (code, err) == (0, "")
  assert "Not judged: no labelled images were opened." in out
  (entry,) = results.read(tmp_path / "out").values()
  assert (entry["parts"], entry["latency"]) == ({}, None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """Arguments that name weights of three classes, and labelled images."""
  folder = tmp_path_factory.mktemp("weights")
  network = registry.describe(
    "mobilenet_v3_small",
    num_classes=3,
    width=0.25,
    options=registry.Options(minimalistic=True),
  )
  path = toy_h5.write(folder / "a.h5", network, toy_h5.tensors(network))
  for k, name in enumerate("abc"):
    (folder / "images" / name).mkdir(parents=True)
    for i in range(2):
      image = Image.fromarray(toy.smooth(60, 50, seed=10 * k + i))
      image.save(folder / "images" / name / f"{i}.png")
  return folder, (
    *("--model=mobilenet_v3_small", f"--weights={path}", "--width=0.25"),
    *("--minimalistic", "--classes=a,b,c"),
  )


@pytest.mark.extended
def test_weights_are_judged_on_labelled_images(weights, start, tmp_path):
  folder, named = weights
  data = f"--data={folder / 'images'}"
  code, out, err = start(*LITTLE, *named, data, workdir=None)
  assert (code, err) == (0, "")
  assert "Answers on images, 6 images" in out
  (name,) = results.read(tmp_path / "out")
  assert name == "mobilenet_v3_small_0.25-float32.stablehlo"
  code, _, err = start(*LITTLE, *named, "--classes=x,y,z", data, workdir=None)
  assert code == 2
  assert "got the label 'a', which none of the classes of the network" in err


def test_mistakes_are_one_line(run, start, weights, tmp_path):
  folder, named = weights
  unfinished = shutil.copytree(run, tmp_path / "unfinished")
  (unfinished / "summary.json").unlink()
  best = reopen.open_run(run).step
  blocked = tmp_path / "file"
  blocked.touch()
  data = f"--data={folder / 'images'}"
  for arguments, options, message in (
    (["--to=coreml"], {}, "--to: got 'coreml'; valid: litert, onnx, stablehlo"),
    (["--to=onnx", "--precision=int4"], {}, "--precision: got 'int4'; valid: "),
    (["--to=onnx", "--batch=0"], {}, "--batch: got 0; valid: 1 to 4096"),
    (
      ["--to=onnx", "--input-size=3x"],
      {},
      "--input-size: got '3x'; valid: any",
    ),
    ([*LITTLE, data], {}, "with --workdir, whose own images judge it"),
    ([*LITTLE, *named], {}, "got --workdir="),
    (LITTLE, {"workdir": None}, "got no network; valid: --workdir=DIR, or"),
    (
      [*LITTLE, "--calibration-images=5"],
      {},
      "--calibration-images: got 5 without int8_full, which alone needs them",
    ),
    (
      [*LITTLE, "--unjudged", "--force"],
      {},
      "--force: got it with --unjudged, which refuses no file",
    ),
    (
      [*LITTLE, *named],
      {"workdir": None, "output": None},
      "--output: got none with --weights; valid: a folder",
    ),
    (
      ["--to=onnx", *named, "--precision=int8_full"],
      {"workdir": None},
      "got int8_full with --weights and no images to calibrate",
    ),
    (
      [*LITTLE, *named, data, "--unjudged"],
      {"workdir": None},
      "--unjudged: got it with --data; valid: one of them",
    ),
    (
      [*LITTLE, *named, "--step=3"],
      {"workdir": None},
      "--step: got 3; valid: with --workdir",
    ),
    (LITTLE, {"workdir": tmp_path}, "whose config.json cannot be read"),
    (
      LITTLE,
      {"workdir": unfinished},
      f"which has not finished; valid: a finished run, or --step={best}",
    ),
    (LITTLE, {"output": blocked / "a"}, "--output: got "),
    (
      ["--to=litert", "--input-size=any"],
      {},
      "--input-size: got 'any' for litert, whose images have one size",
    ),
    (
      [*LITTLE, "--input=normalised", "--input-size=32"],
      {},
      "--input-size: got it with --input=normalised",
    ),
    ([*LITTLE, "data.label=x"], {}, "data.label: got it; valid: data.path"),
  ):
    code, _, err = start(*arguments, **options)
    assert code == 2, (arguments, err)
    assert message in err, err
    assert err.startswith("export: ")
    assert err.count("\n") == 1
  assert not list((tmp_path / "out").glob("*.stablehlo"))
  assert start(*LITTLE, f"--step={best}", workdir=unfinished)[0] == 0


def test_missing_packages_are_one_line(start, monkeypatch, tmp_path):
  import importlib.util

  find = importlib.util.find_spec
  gone = ("flatbuffers", "onnx", "ai_edge_litert")
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name in gone else find(name),
  )
  for form in files.FORMATS:
    code, _, err = start(f"--to={form}", "--unjudged")
    assert code == 2
    assert "pip install '.[export]'" in err
    assert err.count("\n") == 1
  assert not (tmp_path / "out").exists()


def test_nothing_is_half_written_where_the_disk_is_full(
  start, monkeypatch, tmp_path
):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(files.atomic.pathlib.Path, "replace", full)
  code, _, err = start(*LITTLE, "--unjudged")
  assert code == 1
  assert err.startswith("export: '")
  assert err.endswith(" cannot be written (No space left on device)\n")
  assert err.count("\n") == 1
  assert not list((tmp_path / "out").iterdir())
