"""What push writes can be loaded again, and is uploaded only when asked to."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from mn_jax import api
from mn_jax.deploy import predictor, trained
from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.tools import predict, push
from mn_jax.weights import exported

FILES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture
def start(run, capsys):
  """Pushes a run; returns the code and what was printed."""

  def start(*arguments, workdir=run):
    code = push.main([str(workdir), *map(str, arguments)])
    return code, *capsys.readouterr()

  return start


@pytest.fixture
def pushed(start, tmp_path):
  """Folder of a run's files."""
  code, out, err = start(f"--output={tmp_path / 'model'}")
  assert (code, err) == (0, "")
  assert "Nothing was uploaded; --to=hf:OWNER/NAME does so." in out
  return tmp_path / "model"


def test_what_is_written_predicts_as_the_run(run, pushed):
  assert {path.name for path in pushed.iterdir()} == FILES
  images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
  expected = predictor.from_workdir(run)
  loaded = predictor.fold(trained.from_export(str(pushed)))
  assert loaded.classes == expected.classes
  for ours, theirs in zip(
    loaded.probabilities(images), expected.probabilities(images), strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)
  model = api.load(pushed)
  np.testing.assert_array_equal(
    model.predict(images), api.load(run).predict(images)
  )


def test_files_from_elsewhere_are_left_alone(run, start, pushed, tmp_path):
  mine = tmp_path / "project"
  mine.mkdir()
  (mine / "README.md").write_text("mine")
  for folder in (run, mine):
    code, _, err = start(f"--output={folder}")
    assert code == 2
    assert "that is not of a pushed model; valid: a new folder" in err
  assert (mine / "README.md").read_text() == "mine"
  assert start(f"--output={pushed}")[0] == 0


def test_predict_needs_no_name_of_the_network(run, pushed, tmp_path, capsys):
  image = tmp_path / "a.png"
  Image.new("RGB", (40, 30), (200, 30, 60)).save(image)
  assert predict.main([f"--weights={pushed}", str(image)]) == 0
  ours, _ = capsys.readouterr()
  assert predict.main([f"--workdir={run}", str(image)]) == 0
  theirs, _ = capsys.readouterr()
  columns = len(ours.splitlines()[0].split(","))
  assert ours.splitlines() == [
    ",".join(line.split(",")[:columns]) for line in theirs.splitlines()
  ]


@pytest.fixture
def several(tmp_path):
  """Folder of a network of several labels per image, as push writes it."""
  network = registry.describe("simple_cnn", num_classes=3, width=0.25)
  described = exported.Description(
    network=network,
    classes=("red, dark", "green", "blue"),
    image_size=32,
    resolution=0,
    other_sizes="resize",
    bits=16,
    multi_label=True,
    dtype="float32",
  )
  initial = variables.initial_values(registry.build(network), 32, seed=0)
  folder = tmp_path / "several"
  folder.mkdir()
  exported.write(folder, described, initial)
  return folder


def test_labels_have_probabilities_of_their_own(several, tmp_path, capsys):
  image = tmp_path / "a.png"
  Image.new("RGB", (40, 30), (200, 30, 60)).save(image)
  model = api.load(several)
  (expected,) = model.predict(image).tolist()
  assert abs(sum(expected) - 1) > 0.1
  arguments = [f"--weights={several}", str(image)]
  assert predict.main([*arguments, "--format=json"]) == 0
  (row,) = json.loads(capsys.readouterr().out)
  assert row["labels"] == pytest.approx(
    dict(zip(model.classes, expected, strict=True))
  )
  assert predict.main(arguments) == 0
  header, _ = capsys.readouterr().out.splitlines()
  assert header == 'file,"red, dark",green,blue'


def test_the_name_of_the_network_changes_nothing(several):
  """Classes, their kind and the size of images are those that were pushed."""
  image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
  expected = api.load(several)
  named = {"width": 0.25}
  for model in (
    api.load(several, model="simple_cnn", **named),
    api.load(several, model="simple_cnn", classes=expected.classes, **named),
    api.create_model("simple_cnn", several, **named),
    api.create_model("simple_cnn", several, expected.classes, **named),
  ):
    assert model.classes == expected.classes
    np.testing.assert_array_equal(
      model.predict(image), expected.predict(image), strict=True
    )
  mixed = ("green", "blue", "red, dark")
  with pytest.raises(InputError, match=r"got green, .*; valid: red, dark, "):
    api.load(several, model="simple_cnn", classes=mixed, **named)
  with pytest.raises(InputError, match=r"is of simple_cnn at width 0\.25 w"):
    api.load(several, model="simple_cnn")


def test_new_classes_on_a_pushed_network_see_the_same_images(several):
  for classes in (("green", "blue", "red, dark"), ("a", "b")):
    made = trained.backbone_of(
      str(several),
      registry.describe("simple_cnn", num_classes=3, width=0.25),
      classes,
      seed=1,
    )
    assert (made.classes, made.random, made.image_size) == (classes, "head", 32)
    assert not made.multi_label
    before = trained.from_export(str(several)).variables["params"]
    after = made.variables["params"]
    one, other = (jax.tree.leaves(x["backbone"]) for x in (before, after))
    assert all(map(np.array_equal, one, other))
    kernels = [x["head"]["logits"]["kernel"] for x in (before, after)]
    assert not np.array_equal(*kernels)


def test_nothing_of_patients_is_written(run, pushed):
  split = json.loads((run / "split.json").read_text())
  groups = {name for part in split["groups"].values() for name in part}
  assert groups
  for path in pushed.iterdir():
    text = path.read_bytes().decode(errors="replace")
    for name in (*groups, str(run), ".png", "idx5"):
      assert name not in text, (path, name)
  card = (pushed / "README.md").read_text()
  assert f"groups: train {len(split['groups']['train'])}, val" in card


def test_numbers_are_those_of_the_summary(run, pushed):
  summary = json.loads((run / "summary.json").read_text())
  card = (pushed / "README.md").read_text()
  (value,) = re.findall(r"^\| accuracy \| ([\d.]+) \|", card, re.MULTILINE)
  assert float(value) == pytest.approx(summary["test/accuracy"], abs=6e-4)
  assert f"{summary['params']:,} parameters" in card


def test_a_second_push_replaces_the_files(start, pushed):
  (pushed / "notes.txt").write_text("mine")
  (pushed / "README.md").write_text("old")
  code, _, _ = start(f"--output={pushed}", "--license=cc-by-4.0")
  assert code == 0
  assert 'license: "cc-by-4.0"' in (pushed / "README.md").read_text()
  assert {path.name for path in pushed.iterdir()} == FILES | {"notes.txt"}


def test_mistakes_are_one_line(run, start, tmp_path, monkeypatch):
  unfinished = shutil.copytree(run, tmp_path / "unfinished")
  (unfinished / "summary.json").unlink()
  other = shutil.copytree(run, tmp_path / "other")
  summary = json.loads((other / "summary.json").read_text())
  del summary["checksum"]
  (other / "summary.json").write_text(
    json.dumps({**summary, "best_step": summary["best_step"] + 1})
  )
  stained = shutil.copytree(run, tmp_path / "stained")
  config = json.loads((stained / "config.json").read_text())
  del config["checksum"]
  config["config"]["data"]["stain_normalisation"] = "macenko"
  (stained / "config.json").write_text(json.dumps(config))
  for arguments, workdir, message in (
    (["--public"], run, "--public: got it without --to; valid"),
    (["--to=me/mine"], run, "--to: got 'me/mine'; valid: hf:OWNER/NAME"),
    (["--to=hf:a/b@main"], run, "--to: got 'hf:a/b@main'; valid: hf:OWNER/NA"),
    (["--license=a b"], run, "--license: got 'a b'; valid: an identifier"),
    ([], tmp_path / "none", "whose summary.json cannot be read"),
    ([], unfinished, "whose summary.json cannot be read"),
    ([], other, "of which there is no checkpoint"),
    ([], stained, "trained with data.stain_normalisation=macenko"),
  ):
    code, out, err = start(*arguments, workdir=workdir)
    assert (code, out) == (2, "")
    assert err.startswith("push: ")
    assert message in err
    assert err.count("\n") == 1
  assert not (run / "model").exists()


# huggingface_hub's: it gives httpx2 an argument of another name.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_an_upload_is_one_commit_of_three_files(
  start, pushed, tmp_path, monkeypatch
):
  pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")
  from tests import hub_server
  from tests.weights import test_hub

  with hub_server.serving() as server:
    test_hub.connect(monkeypatch, server.url, tmp_path)
    where = (f"--output={pushed}", "--to=hf:lab/idc")
    (pushed / "notes.txt").write_text("patient 9")
    code, _, err = start(*where)
    assert code == 2
    assert "which the hub refuses (401); valid: HF_TOKEN of an account" in err
    monkeypatch.setenv("HF_TOKEN", server.token)
    code, out, err = start(*where)
    assert (code, err) == (0, "")
    assert f"Uploaded: hf:lab/idc@{1:040x}" in out
    assert server.token not in out
    (upload,) = server.uploads
    assert upload["files"].keys() == FILES
    for name, content in upload["files"].items():
      assert content == (pushed / name).read_bytes()
    assert server.private == {"lab/idc"}
    card = upload["files"]["README.md"].decode()
    assert 'mn_jax.load("hf:lab/idc")' in card
    # What was uploaded is loaded from there.
    model = api.load("hf:lab/idc")
    again = api.load(pushed)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(model.predict(images), again.predict(images))
    # Nothing goes where everybody sees it unless that is meant.
    server.private.clear()
    code, _, err = start(*where)
    assert (code, len(server.uploads)) == (2, 1)
    assert "which everybody may see; valid: --public too" in err
    code, _, _ = start(*where, "--public")
    assert (code, len(server.uploads)) == (0, 2)
    server.status = 503
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    code, _, err = start(*where)
    assert code == 1
    assert "hf:lab/idc was not uploaded" in err
    assert err.count("\n") == 1


def test_tensors_are_named_by_modules_where_timm_has_none(pushed):
  tensors = safetensors.numpy.load_file(pushed / "model.safetensors")
  assert all(name.startswith(("backbone/", "head/")) for name in tensors)
  assert "timm has no network like this" in (pushed / "README.md").read_text()
