"""Whole runs on pretrained weights: output, cached features and refusals."""

import pathlib

import pytest

from mn_jax.data import store
from mn_jax.errors import InputError
from mn_jax.run import split_data
from mn_jax.train import state as state_lib
from mn_jax.weights import files
from tests import toy_transfer as toy

FROZEN = {
  "model__transfer": "frozen",
  "model__head": "gap_128_64",
  "model__dropout": 0.5,
  "optim__accumulate": 2,
  "train__ema_decay": 0.9,
}


def write(path: pathlib.Path, *, seed: int) -> str:
  """Writes a file of weights with five classes; returns its path."""
  toy.write_weights(path, classes=5, seed=seed)
  return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  # No other file has this seed: its features are computed here.
  return write(tmp_path_factory.mktemp("weights") / "weights.h5", seed=7)


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
  """(workdir, summary, what was printed) of a run on cached features."""
  workdir = tmp_path_factory.mktemp("runs") / "frozen"
  config = toy.load(model__weights=weights, **FROZEN)
  return workdir, *toy.run(config, workdir)


def refused(config, workdir) -> str:
  """The one line that a run ends with."""
  with pytest.raises(InputError) as error:
    toy.run(config, workdir)
  assert "\n" not in str(error.value)
  return str(error.value)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
  """A cache with the packed data set alone."""
  split_data.load(toy.load().data, toy.ignore_progress)
  root, cache = store.cache_root(""), tmp_path / "cache"
  cache.mkdir()
  for name in ("idc_sample", "packed"):
    (cache / name).symlink_to(root / name)
  monkeypatch.setenv("MN_JAX_CACHE", str(cache))
  return cache


def test_summary_and_printed_lines(finished, weights):
  workdir, summary, printed = finished
  sha256 = files.sha256(pathlib.Path(weights))
  assert summary == toy.read(workdir, "summary.json")
  assert summary["transfer"] == "frozen"
  assert summary["weights_sha256"] == sha256
  assert summary["cached_features"] is True
  assert summary["mfu"] is None
  described = toy.read(workdir, "network.json")
  assert described["weights"] == {
    "file": "weights.h5",
    "sha256": sha256,
    "source": "keras",
    "num_classes": 5,
    "one_logit": False,
    "head": "own",
    "head_problem": "",
    "name": weights,
    "revision": "",
    "note": "",
  }
  assert described["network"]["head"] == "gap_128_64"
  assert described["network"]["conventions"]["padding"] == "end"
  assert described["classes"] == ["no_idc", "idc"]
  assert (described["image_size"], described["resolution"]) == (32, 32)
  assert "extracting features: 2000 images" in printed
  assert (
    f"Weights: weights.h5 (keras, sha256 {sha256[:16]}), frozen; head: "
    "gap_128_64, new logits\n"
    "The backbone's features are computed once and kept.\n"
  ) in printed


def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path):
  """The file of weights may move meanwhile, but not change or vanish."""
  path, workdir = tmp_path / "weights.h5", tmp_path / "run"
  config = toy.load(model__weights=write(path, seed=7), **FROZEN)
  assert toy.run(config, workdir, stop_at=1)[0] is None
  before = toy.read(workdir, "network.json")["weights"]["sha256"]
  moved = path.rename(tmp_path / "moved.h5")
  assert f"got {str(path)!r}, which is no file" in refused(config, workdir)
  write(path, seed=5)
  message = refused(config, workdir)
  sha256 = files.sha256(path)
  assert f"(sha256 {sha256[:16]}, not " in message
  assert f", not {before[:16]}); valid: the same weights" in message
  assert toy.read(workdir, "network.json")["weights"]["sha256"] == before

  config = toy.load(model__weights=str(moved), **FROZEN)
  summary, printed = toy.run(config, workdir)
  assert "from step 1 of 6" in printed
  assert "extracting" not in printed
  assert summary["state_sha256"] == finished[1]["state_sha256"]
  assert summary["test/loss"] == finished[1]["test/loss"]
  assert toy.logged(workdir) == toy.logged(finished[0])


def test_runs_share_features(empty_cache, tmp_path):
  """Of the same images through the same backbone, whatever they train."""
  path = write(tmp_path / "first.h5", seed=3)
  for count, options in (
    (1, {"model__weights": path}),
    (1, {"model__weights": path, "seed": 1, "model__head": "gap_1024"}),
    (2, {"model__weights": write(tmp_path / "other.h5", seed=4)}),
  ):
    toy.build(toy.load(model__transfer="frozen", **options))
    features = list((empty_cache / "features").glob("*.npy"))
    assert len(features) == count, options


def test_a_network_without_batchnorm(tmp_path):
  """There are no statistics: to train, save and resume without them."""
  config = toy.load(
    model__name="simple_cnn",
    model__width=0.05,
    model__dropout=0.5,
    train__steps=2,
    train__ema_decay=0.9,
  )
  state, _ = toy.steps(toy.build(config), 2)
  assert state.batch_stats == {}
  _, printed = toy.run(config, tmp_path / "run", stop_at=1)
  assert "Weights" not in printed
  summary, _ = toy.run(config, tmp_path / "run")
  assert summary["state_sha256"] == state_lib.sha256(state)
  assert summary["batch_stats"] == 0
  assert summary["transfer"] == "scratch"
  assert summary["weights_sha256"] is None
  assert summary["cached_features"] is False
  assert toy.read(tmp_path / "run", "network.json")["weights"] is None


def test_settings_refused_before_data_is_read(weights, tmp_path, monkeypatch):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "cache"))
  missing = "/no/such.h5"
  for options, expected in (
    (
      {"model__weights": weights},
      f"got 'scratch' with model.weights {weights!r}; valid:",
    ),
    (
      {"model__transfer": "frozen"},
      "got 'frozen' with model.weights ''; valid",
    ),
    (
      {"model__weights": missing, "model__transfer": "frozen"},
      f"model.weights: got {missing!r}, which is no file",
    ),
    ({"optim__rules": ("( lr=1", ".*")}, "optim.rules: got '( lr=1'"),
    ({"model__head": "gap"}, "model.head: got 'gap'; valid: own, plain"),
    (
      {"eval__best_metric": "macro_f1"},
      "eval.best_metric: got 'macro_f1' for a data set with a positive class",
    ),
    (
      {"data__name": "eurosat_sample", "eval__best_metric": "f1"},
      "eval.best_metric: got 'f1' for a data set with no positive class",
    ),
  ):
    assert expected in refused(toy.load(**options), tmp_path / "run")
  assert list(tmp_path.iterdir()) == []


def test_rules_are_checked_before_features_are_computed(
  weights, empty_cache, tmp_path
):
  for rules, expected in (
    (("backbone/.*",), "optim.rules: got none for 2 of 29 parameters (head"),
    ((), "valid: rules that cover all, such as a last one '.*'"),
    (("head/.* frozen", ".*"), "got rules that freeze every parameter"),
  ):
    config = toy.load(
      model__weights=weights, model__transfer="frozen", optim__rules=rules
    )
    assert expected in refused(config, tmp_path / "run")
    assert not (empty_cache / "features").exists()
    assert not (tmp_path / "run").exists()


def test_images_too_small_for_weights_of_keras(weights, tmp_path):
  options = {"model__weights": weights, "model__transfer": "fine_tune"}
  message = refused(toy.load(model__resolution=30, **options), tmp_path / "run")
  assert "got 30 pixels for 'mobilenet_v1' with weights of Keras" in message
  assert "valid: 31 or more" in message
  toy.build(toy.load(model__resolution=31, **options))


def test_features_that_cannot_be_written_are_one_line(
  weights, empty_cache, tmp_path
):
  (empty_cache / "features").write_text("a file")
  config = toy.load(model__weights=weights, model__transfer="frozen")
  message = refused(config, tmp_path / "run")
  assert f"data.cache_dir: cannot write {empty_cache / 'features'}" in message
  assert not (tmp_path / "run").exists()
