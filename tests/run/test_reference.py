"""Tests of what a run keeps of its own images."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
import sklearn.neighbors

from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.metrics import out_of_distribution
from mn_jax.run import records, reference, reopen
from tests import toy_transfer as toy

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "weights.h5"
  toy.write_weights(path, classes=5)
  return str(path)


def config(weights, *, cached=True, placement="host"):
  return toy.load(
    model__weights=weights,
    model__transfer="frozen",
    model__cache_features=cached,
    data__placement=placement,
  )


@pytest.fixture(scope="module")
def finished(weights, tmp_path_factory):
  """(workdir, summary) of a run on cached features."""
  workdir = tmp_path_factory.mktemp("runs") / "cached"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reference, "MAX_IMAGES", 100)
    summary, _ = toy.run(config(weights), workdir)
  return workdir, summary


@pytest.fixture
def run(finished, tmp_path):
  """A copy of the run's folder."""
  return shutil.copytree(finished[0], tmp_path / "run")


def test_it_is_of_training_and_validation_images(finished):
  workdir, summary = finished
  found, why = reference.of_run(reopen.open_run(workdir))
  assert why == ""
  assert found.step == summary["best_step"]
  assert found.features.dtype == np.float16
  assert found.features.shape[0] == summary["reference_images"] == 100
  opened = reopen.open_run(workdir)
  data = opened.data(toy.ignore_progress)
  train, val = data.part("train"), data.part("val")
  rows = {name: row for row, name in enumerate(data.cache.names)}
  kept = np.array([rows[name] for name in found.names])
  assert kept.tolist() == sorted(kept)
  assert {kept[0], kept[-1]} == {train[0], train[-1]}
  assert np.isin(kept, train).all()
  np.testing.assert_array_equal(found.labels, data.cache.labels[kept])

  # By another program than that of the run.
  chosen = predictor.from_run(opened)
  features = chosen.features(data.cache.images[kept])
  mean, spread = out_of_distribution.moments(features)
  np.testing.assert_allclose(found.mean, mean, atol=1e-4)
  np.testing.assert_allclose(found.spread, spread, rtol=1e-3)
  training = (features - mean) / spread
  assert 0.5 < np.std(training) <= 1
  np.testing.assert_allclose(found.features, training, atol=0.02)
  some = val[np.linspace(0, len(val) - 1, 100).round().astype(int)]
  outputs = [*chosen.outputs(data.cache.images[some])]
  features = np.stack([x.features for x in outputs])
  logits = np.stack([x.logits for x in outputs])
  nearest = sklearn.neighbors.NearestNeighbors(n_neighbors=5)
  nearest = nearest.fit(training).kneighbors((features - mean) / spread)[0]
  assert np.std(nearest[:, 4]) > 0.1
  np.testing.assert_allclose(found.distances, nearest[:, 4], atol=0.02)
  np.testing.assert_allclose(
    found.energies, -np.logaddexp.reduce(logits, axis=1), rtol=1e-3
  )
  places, distances = found.nearest(features, 5)
  np.testing.assert_allclose(distances, nearest, atol=0.02)
  assert places.shape == (len(features), 5)
  # The images themselves are spread over the percentiles.
  for percentages in found.percentiles(features, logits):
    assert percentages.mean() == pytest.approx(50, abs=5)
    assert np.std(percentages) == pytest.approx(29, abs=5)
  blank, _ = found.percentiles(np.abs(logits).max() - features[:1], logits[:1])
  assert blank[0] > 95


def test_every_way_of_training_leaves_the_same(finished, weights, tmp_path):
  """Pixels in place of cached features, images on the device, a resumed run."""
  expected = reference.read(finished[0])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reference, "MAX_IMAGES", 100)
    stopped = tmp_path / "stopped"
    assert toy.run(config(weights), stopped, stop_at=4)[0] is None
    assert not (stopped / "reference.npz").exists()
    summary, _ = toy.run(config(weights), stopped)
    assert summary["state_sha256"] == finished[1]["state_sha256"]
    other = config(weights, cached=False, placement="device")
    toy.run(other, tmp_path / "pixels")
  content = (finished[0] / "reference.npz").read_bytes()
  assert (stopped / "reference.npz").read_bytes() == content
  pixels = reference.read(tmp_path / "pixels")
  assert pixels.names.tolist() == expected.names.tolist()
  np.testing.assert_allclose(pixels.features, expected.features, atol=0.02)
  np.testing.assert_allclose(pixels.distances, expected.distances, atol=0.02)


def toy_reference(draw):
  return reference.Reference(
    step=3,
    mean=draw.normal(size=4).astype(np.float32),
    spread=np.ones(4, np.float32),
    features=draw.normal(size=(9, 4)).astype(np.float16),
    names=np.array([f"{i}.png" for i in range(9)]),
    labels=np.arange(9, dtype=np.int32) % 3,
    distances=draw.random(7).astype(np.float32),
    energies=draw.random(7).astype(np.float32),
  )


def test_no_damage_goes_unnoticed(tmp_path):
  draw = np.random.default_rng(0)
  written = toy_reference(draw)
  reference.write(tmp_path, written)
  path = tmp_path / "reference.npz"
  content = path.read_bytes()
  path.unlink()
  reference.write(tmp_path, written)
  assert path.read_bytes() == content

  def same(found):
    jax.tree.map(np.testing.assert_array_equal, vars(found), vars(written))

  same(reference.read(tmp_path))
  noticed = 0
  for bit in draw.choice(8 * len(content), 300, replace=False):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(damaged))
    try:
      same(reference.read(tmp_path))
    except records.DamagedError:
      noticed += 1
  assert noticed > 150
  for damaged in (b"", content[:100], content[:-40], b"\0" * 500):
    path.write_bytes(damaged)
    with pytest.raises(records.DamagedError, match="z cannot be read"):
      reference.read(tmp_path)
  # Whole, but with other numbers.
  changed = dataclasses.replace(written, energies=written.energies + 1)
  arrays = {k: np.asarray(v) for k, v in vars(changed).items()}
  digest = np.array(reference._digest({**arrays, "energies": written.energies}))
  np.savez(path, **arrays, sha256=digest)
  with pytest.raises(records.DamagedError, match="not as it was written"):
    reference.read(tmp_path)


def test_a_run_without_one_says_why(run):
  (run / "reference.npz").rename(run / "other.npz")
  found, why = reference.of_run(reopen.open_run(run))
  assert found is None
  assert "has no reference.npz; a run writes it when it ends" in why


def test_another_checkpoint_has_none(run):
  opened = reopen.open_run(run)
  other = dataclasses.replace(opened, step=opened.step + 1)
  found, why = reference.of_run(other)
  assert found is None
  assert why.startswith(f"reference.npz is of step {opened.step}, the checkp")
  with pytest.raises(InputError, match=f"at step {opened.step}, not "):
    reference.validation(other)
  assert len(reference.validation(opened).names) == 300
  (run / "summary.json").unlink()
  with pytest.raises(InputError, match="a run that has not ended; valid: one "):
    reference.validation(opened)


def test_several_labels_have_energies_of_their_own():
  draw = np.random.default_rng(0)
  single = toy_reference(draw)
  several = dataclasses.replace(single, labels=np.ones((9, 2), np.uint8))
  logits = np.array([[-3, -3.0]], np.float32)
  features = draw.normal(size=(1, 4)).astype(np.float32)
  found = several.percentiles(features, logits)[1]
  energy = -2 * np.log1p(np.exp(-3.0))
  assert found[0] == 100 * (several.energies < energy).mean()
  assert single.percentiles(features, logits)[1] == 100  # 3 - log(2)
