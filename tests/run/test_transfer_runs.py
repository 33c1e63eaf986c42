"""Whole runs on pretrained weights: what they say, keep, share and refuse."""

import pathlib

import jax
import pytest

from mn_jax.data import store
from mn_jax.errors import InputError
from mn_jax.run import split_data
from mn_jax.train import state as state_lib
from mn_jax.weights import files
from tests import toy_transfer as toy

pytestmark = pytest.mark.usefixtures("standard_promotion")


FROZEN = {
  "model__transfer": "frozen",
  "model__head": "gap_128_64",
  "model__dropout": 0.5,
  "optim__accumulate": 2,
  "train__ema_decay": 0.9,
}


def write(folder: pathlib.Path, *, classes=5, seed=0) -> str:
  """A file of weights."""
  path = folder / "weights.h5"
  toy.write_weights(path, classes=classes, seed=seed)
  return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  # No other file has this seed: its features are made here.
  return write(tmp_path_factory.mktemp("weights"), seed=7)


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
  """(workdir, summary, what was printed) of a run on cached features."""
  workdir = tmp_path_factory.mktemp("runs") / "frozen"
  config = toy.load(model__weights=weights, **FROZEN)
  with jax.numpy_dtype_promotion("standard"):
    return workdir, *toy.run(config, workdir)


@pytest.fixture
def stopped(weights, tmp_path):
  """(config, workdir) of a run that stopped after a step."""
  copy = tmp_path / "copy.h5"
  copy.write_bytes(pathlib.Path(weights).read_bytes())
  config = toy.load(model__weights=str(copy), **FROZEN)
  assert toy.run(config, tmp_path / "run", stop_at=1)[0] is None
  return config, tmp_path / "run"


def refused(config, workdir) -> str:
  """The one line that a run ends with."""
  with pytest.raises(InputError) as error:
    toy.run(config, workdir)
  assert "\n" not in str(error.value)
  return str(error.value)


def cache_with_the_data(cache, monkeypatch):
  """A cache folder of a test's own, which finds the packed data set in it."""
  split_data.load(toy.load().data, lambda done, total: None)
  root = store.cache_root("")
  cache.mkdir()
  for name in ("idc_sample", "packed"):
    (cache / name).symlink_to(root / name)
  monkeypatch.setenv("MN_JAX_CACHE", str(cache))


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
  """A cache that no test beside this one writes features into."""
  cache_with_the_data(tmp_path / "cache", monkeypatch)


def features() -> set[pathlib.Path]:
  folder = store.cache_root("") / "features"
  return set(folder.glob("*.npy")) if folder.exists() else set()


def test_what_a_run_says_of_its_weights(finished, weights):
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


@pytest.mark.parametrize(
  ("head", "said"),
  [("own", "own, its last layer too"), ("plain", "plain, new logits")],
)
def test_what_is_said_of_as_many_classes(tmp_path, head, said):
  config = toy.load(
    model__weights=write(tmp_path, classes=2),
    model__transfer="fine_tune",
    model__head=head,
  )
  _, printed = toy.run(config, tmp_path / "run", stop_at=0)
  assert f"fine_tune; head: {said}\n" in printed
  assert "features" not in printed


@pytest.mark.usefixtures("own_cache")
def test_runs_share_the_features(tmp_path):
  """Of the same images through the same backbone, whatever they train."""
  first, other = tmp_path / "first", tmp_path / "other"
  first.mkdir()
  other.mkdir()
  path = write(first, seed=3)
  before = features()
  for number, options in (
    (1, {"model__weights": path}),
    (1, {"model__weights": path, "seed": 1, "model__head": "gap_1024"}),
    (2, {"model__weights": path, "model__resolution": 48}),
    (3, {"model__weights": write(other, seed=4)}),
  ):
    toy.build(toy.load(model__transfer="frozen", **options))
    assert len(features() - before) == number, options


def test_interrupted_on_cached_features_ends_the_same(stopped, finished):
  config, workdir = stopped
  continued, printed = toy.run(config, workdir)
  assert "from step 1 of 6" in printed
  assert "extracting" not in printed
  assert continued["state_sha256"] == finished[1]["state_sha256"]
  assert continued["test/loss"] == finished[1]["test/loss"]
  assert toy.logged(workdir) == toy.logged(finished[0])


@pytest.mark.parametrize(
  "name",
  # The second takes the same way as the first, for longer.
  ["simple_cnn", pytest.param("vgg16", marks=pytest.mark.slow)],
)
def test_networks_without_batchnorm(tmp_path, name):
  """There are no statistics: to train, save and go on without them."""
  config = toy.load(
    model__name=name,
    model__width=0.05,
    model__dropout=0.5,
    train__steps=2,
    train__ema_decay=0.9,
  )
  after, _ = toy.steps(toy.build(config), 2)
  assert after.batch_stats == {}
  _, printed = toy.run(config, tmp_path / "run", stop_at=1)
  assert "Weights" not in printed
  summary, _ = toy.run(config, tmp_path / "run")
  assert summary["state_sha256"] == state_lib.sha256(after)
  assert summary["batch_stats"] == 0
  assert summary["transfer"] == "scratch"
  assert summary["weights_sha256"] is None
  assert summary["cached_features"] is False
  assert toy.read(tmp_path / "run", "network.json")["weights"] is None


def test_to_go_on_with_other_weights_is_refused(stopped):
  config, workdir = stopped
  before = toy.read(workdir, "network.json")["weights"]["sha256"]
  toy.write_weights(pathlib.Path(config.model.weights), classes=5, seed=5)
  now = files.sha256(pathlib.Path(config.model.weights))
  message = refused(config, workdir)
  assert f"model.weights: got a file with sha256 {now[:16]}, but" in message
  assert f"was started with {before[:16]}; valid: the same file" in message
  assert toy.read(workdir, "network.json")["weights"]["sha256"] == before


def test_the_weights_may_move_but_not_vanish(stopped):
  config, workdir = stopped
  path = pathlib.Path(config.model.weights)
  moved = path.rename(path.with_name("moved.h5"))
  assert f"got {str(path)!r}, which is no file" in refused(config, workdir)
  config = toy.load(model__weights=str(moved), **FROZEN)
  _, printed = toy.run(config, workdir, stop_at=1)
  assert "from step 1 of 6" in printed


@pytest.fixture
def no_data(tmp_path, monkeypatch):
  """Nothing is read: the folder of data sets, which stays as it is."""
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "cache"))
  yield tmp_path
  assert not (tmp_path / "cache").exists()
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("transfer", "with_weights"),
  [("scratch", True), ("fine_tune", False), ("frozen", False)],
)
def test_transfer_and_weights_must_agree(
  weights, no_data, transfer, with_weights
):
  path = weights if with_weights else ""
  config = toy.load(model__transfer=transfer, model__weights=path)
  message = refused(config, no_data / "run")
  assert f"got {transfer!r} with model.weights {path!r}; valid:" in message


@pytest.mark.parametrize(
  ("options", "expected"),
  [
    (
      {"model__weights": "/no/such.h5", "model__transfer": "frozen"},
      "model.weights: got '/no/such.h5', which is no file",
    ),
    ({"optim__rules": ("( lr=1", ".*")}, "optim.rules: got '( lr=1'"),
    ({"model__head": "gap"}, "model.head: got 'gap'; valid: own, plain"),
    (
      {"eval__best_metric": "macro_f1"},
      "eval.best_metric: got 'macro_f1' for a data set with a positive class; "
      "valid: balanced_accuracy, accuracy, mcc, loss, auroc, "
      "average_precision, f1",
    ),
    (
      {"data__name": "eurosat_sample", "eval__best_metric": "f1"},
      "eval.best_metric: got 'f1' for a data set with no positive class; "
      "valid: balanced_accuracy, accuracy, mcc, loss, macro_auroc, "
      "macro_average_precision, macro_f1",
    ),
  ],
)
def test_what_needs_no_data_to_be_refused(no_data, options, expected):
  assert expected in refused(toy.load(**options), no_data / "run")


@pytest.mark.usefixtures("own_cache")
def test_rules_are_checked_before_anything_is_computed(tmp_path):
  path = tmp_path / "weights.h5"
  toy.write_weights(path, classes=5, seed=6)
  for rules, expected in (
    (("backbone/.*",), "optim.rules: got none for 2 of 29 parameters (head"),
    ((), "valid: rules that cover all, such as a last one '.*'"),
    (("heads/.* lr=2", ".*"), "got 'heads/.* lr=2', which matches no param"),
    (("head/.* frozen", ".*"), "got rules that freeze every parameter"),
  ):
    config = toy.load(
      model__weights=str(path), model__transfer="frozen", optim__rules=rules
    )
    assert expected in refused(config, tmp_path / "run")
    assert not features()
    assert not (tmp_path / "run").exists()


def test_images_too_small_for_weights_of_keras(weights, tmp_path):
  options = {"model__weights": weights, "model__transfer": "fine_tune"}
  message = refused(toy.load(model__resolution=30, **options), tmp_path / "run")
  assert "got 30 pixels for 'mobilenet_v1' with weights of Keras" in message
  assert "valid: 31 or more" in message
  toy.build(toy.load(model__resolution=31, **options))


def test_features_that_cannot_be_kept_are_one_line(
  weights, tmp_path, monkeypatch
):
  """The data set is there, and the place of the features is taken."""
  cache = tmp_path / "cache"
  cache_with_the_data(cache, monkeypatch)
  (cache / "features").write_text("a file")
  config = toy.load(model__weights=weights, model__transfer="frozen")
  message = refused(config, tmp_path / "run")
  assert f"data.cache_dir: cannot write {cache / 'features'}" in message
  assert not (tmp_path / "run").exists()
