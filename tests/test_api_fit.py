"""Tests of fit and evaluate: what the programs do, from Python."""

import faulthandler
import json
import pathlib
import signal
import threading

import jax
import numpy as np
import pytest
from PIL import Image

import mn_jax
from mn_jax import main as program
from mn_jax.run import run as run_lib
from mn_jax.train import checkpoint

pytestmark = pytest.mark.usefixtures("standard_promotion")
COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 60, 40)}
TINY = {
  "model": "simple_cnn",
  "epochs": 2,
  "batch_size": 16,
  "seed": 3,
  "verbose": False,
  "model__width": 0.125,
  "data__image_size": 24,
  "model__resolution": 0,
}


def _images(folder: pathlib.Path, count: int, seed: int) -> pathlib.Path:
  """Noisy images of a colour in a folder for each."""
  draw = np.random.default_rng(seed)
  for name, colour in COLOURS.items():
    (folder / name).mkdir(parents=True)
    for number in range(count):
      noise = draw.normal(0, 60, (24, 24, 3))
      pixels = (colour + noise).clip(0, 255).astype(np.uint8)
      Image.fromarray(pixels).save(folder / name / f"{seed}_{number}.png")
  return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  return _images(tmp_path_factory.mktemp("data") / "photos", 24, 0)


@pytest.fixture(scope="module")
def workdir(photos, tmp_path_factory):
  """The folder of a run that `fit` has trained."""
  folder = tmp_path_factory.mktemp("runs") / "fitted"
  with jax.numpy_dtype_promotion("standard"):
    mn_jax.fit(photos, workdir=folder, **TINY)
  return folder


def _params(model: mn_jax.Model) -> list[np.ndarray]:
  return jax.tree.leaves(model.variables["params"])


def test_fit_is_the_program(photos, workdir, tmp_path, monkeypatch):
  monkeypatch.setattr(faulthandler, "enable", lambda: None)  # needs a terminal
  model = mn_jax.load(workdir)
  arguments = [f"--data={photos}", f"--workdir={tmp_path / 'run'}"]
  arguments += ["--model=simple_cnn", "train.epochs=2", "train.batch_size=16"]
  arguments += ["seed=3", "model.width=0.125", "data.image_size=24"]
  assert program.main([*arguments, "model.resolution=0"]) == 0
  same = mn_jax.load(tmp_path / "run")
  for ours, theirs in zip(_params(model), _params(same), strict=True):
    np.testing.assert_array_equal(ours, theirs)
  for name, value in same.summary.items():
    if name.startswith(("val/", "test/")):
      assert model.summary[name] == value, name
  configs = [
    json.loads((folder / "config.json").read_text())["config"]
    for folder in (workdir, tmp_path / "run")
  ]
  assert configs[0] == configs[1]


def test_the_same_call_again_only_loads(photos, workdir, capsys):
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
  model = mn_jax.fit(str(photos), workdir=str(workdir), **TINY | {"epochs": 2})
  assert capsys.readouterr().out == ""
  assert model.summary["steps"] > 0
  for path, changed in before.items():
    assert path.stat().st_mtime_ns == changed
  model = mn_jax.fit(photos, workdir=workdir, **TINY | {"verbose": True})
  assert "is complete; nothing is left to do" in capsys.readouterr().out
  with pytest.raises(mn_jax.InputError, match=r"another config .*seed"):
    mn_jax.fit(photos, workdir=workdir, **TINY | {"seed": 4})


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_stopped_run_is_resumed_by_the_same_call(
  in_thread, photos, workdir, tmp_path, monkeypatch, capsys
):
  """Bit for bit; in a thread, where nothing can stop it, it runs through."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  stop_at, add = 3, run_lib.Run.add

  def add_and_stop(self, step, sums):
    add(self, step, sums)
    if step == stop_at and not in_thread:
      signal.raise_signal(signal.SIGINT)

  monkeypatch.setattr(run_lib.Run, "add", add_and_stop)
  folder = tmp_path / "run"
  models = []

  def fit():
    with jax.numpy_dtype_promotion("standard"):
      models.append(mn_jax.fit(photos, workdir=folder, **TINY))

  try:
    if in_thread:
      thread = threading.Thread(target=fit)
      thread.start()
      thread.join()
    else:
      with pytest.raises(KeyboardInterrupt, match="the same call resumes"):
        fit()
      assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
      assert checkpoint.steps(folder) == [stop_at]
      assert "saving, then stopping" in capsys.readouterr().err
      assert not (folder / "summary.json").exists()
      monkeypatch.undo()
      fit()
  finally:
    signal.signal(signal.SIGINT, before)
  expected = mn_jax.load(workdir)
  for ours, theirs in zip(_params(models[0]), _params(expected), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_what_was_chosen_is_printed(photos, tmp_path, capsys):
  shown = {**TINY, "verbose": True, "epochs": 1}
  mn_jax.fit(photos, workdir=tmp_path / "run", **shown)
  out = capsys.readouterr().out
  for text in ("what is trained, and why", "as you say", "train.epochs=1"):
    assert text in out
  assert "best checkpoint" in out


def test_new_images_are_evaluated(workdir, tmp_path, capsys):
  new = _images(tmp_path / "new", 5, 1)
  model = mn_jax.load(workdir)
  result = mn_jax.evaluate(model, new)
  out = capsys.readouterr().out
  assert "accuracy" in out
  files = sorted(new.rglob("*.png"))
  predicted = model.predict(files).argmax(axis=1)
  truth = [model.classes.index(path.parent.name) for path in files]
  accuracy = result.intervals["accuracy"]
  assert accuracy.value == pytest.approx(np.mean(predicted == truth))
  assert accuracy.low <= accuracy.value <= accuracy.high
  assert f"accuracy {accuracy.value:.3f}" in repr(result)
  assert "\n" not in repr(result)
  steps = checkpoint.steps(workdir)
  members = [workdir, *(mn_jax.load(workdir, step=step) for step in steps)]
  del members[1 + steps.index(result.runs[0].step)]  # which is the best
  both = mn_jax.evaluate(members, str(new), verbose=False)
  assert [run.step for run in both.runs] != [result.runs[0].step]
  assert 0 <= both.intervals["accuracy"].value <= 1
  assert capsys.readouterr().out == ""


def test_mistakes_are_one_line(photos, workdir, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  fit, evaluate = mn_jax.fit, mn_jax.evaluate
  model = mn_jax.load(workdir)
  half = mn_jax.load(workdir, precision="bfloat16")
  blank = mn_jax.create_model("simple_cnn", classes=3, width=0.05)
  for call, message in (
    (lambda: fit(3), "data: got int; valid: a path"),
    (lambda: fit(tmp_path / "none"), "data.path: got '.*none', which does not"),
    (lambda: fit(photos, model), "model: got Model; valid: the name of a net"),
    (lambda: fit(photos, "vgg17"), "model.name: got 'vgg17'; valid: mobile"),
    (lambda: fit(photos, epoch=3), "epoch: unknown field .*'train__epochs'"),
    (
      lambda: fit(photos, train__epoch=3),
      "train__epoch: unknown field .*train__epochs",
    ),
    (lambda: fit(photos, train=3), "train: got 3; valid: section__field"),
    (lambda: fit(photos, epochs="5"), "train.epochs: got '5' of type str; v"),
    (lambda: fit(photos, epochs=-1), "train.epochs: got -1.0; valid: at least"),
    (
      lambda: fit(photos, epochs=2, train__epochs=2),
      "train.epochs: got it twi",
    ),
    (lambda: fit(photos, train__replicas=2), "fit: got several processes or t"),
    (lambda: fit(photos, workdir=photos), "--workdir: got .* folder of the im"),
    (lambda: evaluate([], photos), "model: got none; valid: a model, or sev"),
    (lambda: evaluate(blank, photos), "model: got <mn_jax.Model .* of no run"),
    (
      lambda: evaluate(half, photos),
      "model: got one that predicts in bf",
    ),
    (lambda: evaluate(model, tmp_path / "x"), "data.path: got '.*x', which d"),
    (lambda: evaluate(model, photos, labels="x"), "labels: unknown field"),
    (lambda: evaluate(model, photos, seed=3), "seed: got it for new images"),
    (lambda: evaluate(model, photos, data__split="auto"), "data.split: got it"),
    (lambda: evaluate(tmp_path, photos), "whose config.json cannot be read"),
  ):
    with pytest.raises(mn_jax.InputError, match=message) as caught:
      call()
    assert "\n" not in str(caught.value)
