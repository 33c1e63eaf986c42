"""The programs that look into a run, as their users run them."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from mn_jax.metrics import feature_table
from mn_jax.run import reopen
from tests import toy_transfer as toy
from tests.tools.inspecting import PROGRAMS, refuse

# A column of 80 mm at 300 pixels per inch.
WIDTH = 945

pytestmark = pytest.mark.usefixtures("standard_promotion")


def picture(path):
  with Image.open(path) as image:
    assert image.width == pytest.approx(WIDTH, abs=2)
    return np.asarray(image.convert("RGB"))


def test_saliency_draws_a_row_for_each_image(start, run):
  code, out, _ = start(
    "saliency", "--count=3", "--samples=2", "--points=2", "--batch-size=4"
  )
  assert code == 0
  default = run / "inspect" / "saliency.png"
  assert str(default) in out
  assert "integrated_gradients: the sums of the maps are off by " in out
  four = picture(default)
  code, *_ = start(
    "saliency", "--count=3", "--methods=gradient,grad_cam", "--part=val"
  )
  assert code == 0
  both = picture(default)
  # Fewer and larger.
  assert both.shape[0] > 1.3 * four.shape[0]


def test_saliency_of_images_that_are_named(start, tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  Image.fromarray(image).save(tmp_path / "a.png")
  (tmp_path / "b.png").write_text("no image")
  output = tmp_path / "map.png"
  code, _, err = start(
    "saliency",
    tmp_path,
    "--methods=gradient",
    "--class=idc",
    f"--output={output}",
  )
  assert code == 0
  assert f"saliency: {tmp_path / 'b.png'}: " in err
  picture(output)


def test_embed_writes_picture_numbers_and_projector(start, run, tmp_path):
  code, out, _ = start(
    "embed", "--count=40", "--layer=block0", f"--output={tmp_path / 'e'}"
  )
  assert code == 0
  picture(tmp_path / "e" / "embedding.png")
  numbers = json.loads((tmp_path / "e" / "embedding.json").read_text())
  table = feature_table.read(tmp_path / "e" / "features.npz")
  assert table.sets["block0"].shape == (40, numbers["features"])
  assert table.classes == ("no_idc", "idc")
  assert len({*table.groups}) > 1
  assert numbers["images"] == 40
  assert numbers["layer"] == "block0"
  assert numbers["neighbours"] == "of another patient"
  for name in ("knn_accuracy", "majority_rate"):
    assert 0 < numbers[name] <= 1
    assert f"{numbers[name]:.3f}" in out
  rows = (tmp_path / "e" / "metadata.tsv").read_text().splitlines()
  assert rows[0] == "class\tname\tpatient"
  assert len(rows) == 41
  data = reopen.open_run(run).data(lambda *_: None)
  tested = data.cache.names[data.part("test")].tolist()
  assert {row.split("\t")[1] for row in rows[1:]} <= set(tested)
  assert {*table.names} <= set(tested)


def test_slide_map_draws_a_patient(start, run):
  group = toy.read(run, "split.json")["groups"]["test"][0]
  code, out, _ = start("slide_map", f"--group={group}")
  assert code == 0
  assert f"patient {group}, in test: " in out
  found = picture(run / "inspect" / f"slide_{group}.png")
  assert len(np.unique(found.reshape(-1, 3), axis=0)) > 100
  done = start("slide_map", f"--group={group}0")
  refuse(done, "slide_map", f"--group: got '{group}0'; valid: one of ")
  assert str(group) in done[2].partition("valid")[2]


def test_slide_map_needs_slides(start, monkeypatch):
  real = reopen.SavedRun.data

  def without(self, progress):
    data = real(self, progress)
    spec = dataclasses.replace(data.spec, slides=False)
    return dataclasses.replace(data, spec=spec)

  monkeypatch.setattr(reopen.SavedRun, "data", without)
  done = start("slide_map", "--group=1")
  refuse(done, "slide_map", "does not know where on a slide its images are")


def test_mistakes_are_one_line(start, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, arguments, text in (
    ("evaluate", ["--step=7"], "--step: got 7; valid: "),
    ("evaluate", ["--part=all"], "--part"),
    ("evaluate", ["--batch-size=0"], "--batch-size: got 0; valid: 1 or more"),
    ("evaluate", ["extra"], "extra"),
    ("evaluate", ["--precision=8"], "invalid choice: '8' (choose from "),
    ("evaluate", ["--recalibrate=0"], "--recalibrate: got 0; valid: 1 or more"),
    ("evaluate", ["--recalibrate=9"], "--recalibrate: got a network without"),
    ("saliency", ["--count=0"], "--count: got 0; valid: 1 to 64"),
    ("saliency", ["--count=65"], "--count: got 65; valid: 1 to 64"),
    ("saliency", ["--methods=a,b"], "--methods: got 'a'; valid: gradient, "),
    ("saliency", ["--class=dog"], "--class: got 'dog'; valid: no_idc, idc"),
    ("saliency", ["--baseline=nan"], "--baseline: got nan; valid: 0 to 255"),
    ("saliency", ["--seed=-1"], "--seed: got -1; valid: 0 to "),
    ("saliency", ["nowhere"], "got 'nowhere', which is neither"),
    ("saliency", ["--count=1", "--output=a.xyz"], "--output: got 'a.xyz'"),
    ("embed", ["--count=3"], "--count: got 3 images"),
    ("embed", ["--layer=x"], "--layer: got 'x'; valid: block0, "),
    ("slide_map", [], "--group"),
    ("slide_map", ["--group=2", "--class=x"], "--group: got '2'"),
  ):
    code, _, err = start(name, *arguments)
    refuse((code, "", err), name, text)
  for name in PROGRAMS:
    more = ["--group=1"] if name == "slide_map" else []
    done = start(name, *more, workdir=tmp_path)
    refuse(done, name, "whose config.json cannot be read")
  (tmp_path / "file").write_text("")
  for name, output in (
    ("evaluate", "p.npz"),
    ("saliency", "s.png"),
    ("embed", ""),
  ):
    code, _, err = start(name, f"--output={tmp_path}/file/{output}")
    refuse((code, "", err), name, "--output: got ")
