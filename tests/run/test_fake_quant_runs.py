"""Quantisation-aware fine-tuning: whole runs, and what is refused."""

import dataclasses

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.deploy import confidence, trained
from mn_jax.errors import InputError
from mn_jax.export import source as export_source
from mn_jax.export.litert import file as litert_file
from mn_jax.export.options import Options
from mn_jax.models import fake_quant
from mn_jax.run import calibrate, reopen
from mn_jax.run import network as network_lib
from tests import toy_transfer as toy

QUANTISED = {
  "model__transfer": "fine_tune",
  "model__fake_quant": "int8",
  "train__ema_decay": 0.9,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """The folder of a finished run in float32."""
  workdir = tmp_path_factory.mktemp("runs") / "base"
  toy.run(toy.load(), workdir)
  return workdir


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
  """(workdir, summary, what was printed) of a run from that one."""
  workdir = tmp_path_factory.mktemp("runs") / "quantised"
  config = toy.load(model__weights=str(base), **QUANTISED)
  return workdir, *toy.run(config, workdir)


def test_a_run_starts_from_another_with_its_head(base, finished):
  start = reopen.open_run(base)
  first = toy.build(toy.load(model__weights=str(base), **QUANTISED))
  state = first.initial_state
  jax.tree.map(
    np.testing.assert_array_equal, state.params, start.variables["params"]
  )
  _, _, printed = finished
  assert f"Weights: base, step {start.step} (run, sha256 " in printed
  assert "fine_tune; head: own, its last layer too" in printed


def test_statistics_stay_and_ranges_move(base, finished):
  before, after = (
    flax.traverse_util.flatten_dict(
      reopen.open_run(path).variables["batch_stats"], sep="/"
    )
    for path in (base, finished[0])
  )
  for name, value in before.items():
    if not name.endswith("/weight"):
      np.testing.assert_array_equal(after[name], value)
  start = toy.build(toy.load(model__weights=str(base), **QUANTISED))
  first = flax.traverse_util.flatten_dict(
    start.initial_state.batch_stats, sep="/"
  )
  ranges = {name for name in after if name.endswith("_range")}
  assert ranges == after.keys() - before.keys()
  name = "head/logits/output_range"
  assert (np.asarray(first[name]) != after[name]).all()


def test_interrupted_and_resumed_equals_uninterrupted(base, finished, tmp_path):
  config = toy.load(model__weights=str(base), **QUANTISED)
  assert toy.run(config, tmp_path / "run", stop_at=3)[0] is None
  summary, printed = toy.run(config, tmp_path / "run")
  assert "from step 3 of 6" in printed
  assert summary["state_sha256"] == finished[1]["state_sha256"]
  assert summary["test/loss"] == finished[1]["test/loss"]
  assert toy.logged(tmp_path / "run") == toy.logged(finished[0])


def test_it_is_evaluated_with_rounding_and_deployed_without(finished):
  workdir, summary, _ = finished
  run = reopen.open_run(workdir)
  data = run.data(toy.ignore_progress)
  rows = data.part("test")
  rounded = run.predict(data, rows)
  # As the run itself has measured it.
  hits = rounded.logits.argmax(-1) == rounded.labels
  assert np.mean(hits) == pytest.approx(summary["test/accuracy"])
  plain = dataclasses.replace(
    run, variables=fake_quant.without_ranges(run.variables)
  ).predict(data, rows)
  difference = np.abs(plain.logits - rounded.logits).max()
  assert 0 < difference < 0.2 * np.abs(plain.logits).max()
  # What is exported is the network in float32.
  source = export_source.of(trained.from_run(run))
  images = data.cache.images[rows[:8]]
  logits = jax.jit(lambda x: source.logits(source.normalise(x)))(images)
  np.testing.assert_allclose(
    np.asarray(logits), plain.logits[:8], atol=1e-4 * np.abs(logits).max()
  )


def test_confidence_says_that_validation_was_rounded(base, finished):
  def notes(workdir):
    judge = confidence.of_run(reopen.open_run(workdir), calibrated=True)
    return " ".join(judge.notes)

  text = "validation was predicted with the rounding of model.fake_quant=int8"
  assert text in notes(finished[0])
  assert "rounding" not in notes(base)


@pytest.mark.extended
def test_the_8_bit_file_computes_what_is_evaluated(finished):
  """With ranges of the same images it differs by single steps."""
  pytest.importorskip("ai_edge_quantizer")
  run = reopen.open_run(finished[0])
  data = run.data(toy.ignore_progress)
  rows, taken = data.part("test")[:100], data.part("train")[:256]
  images, calibration = data.cache.images[rows], data.cache.images[taken]
  plain = dataclasses.replace(
    run, variables=fake_quant.without_ranges(run.variables)
  )
  rounded = dataclasses.replace(
    run,
    variables=calibrate.calibrate(
      run.module,
      run.network.conventions,
      plain.variables,
      [calibration],
      resolution=0,
    ),
  ).predict(data, rows)
  file = litert_file.export(
    export_source.of(trained.from_run(run)),
    Options(precision="int8_full", batch=1, size=images.shape[1:3]),
    description="{}",
    calibration=calibration,
  )
  session = litert_file.open_bytes(file)
  logits = np.concatenate([session.run(x[None]).logits for x in images])
  same = logits.argmax(-1) == rounded.logits.argmax(-1)
  assert same.mean() >= 0.98
  error = np.abs(logits - rounded.logits).mean()
  assert error < np.abs(logits - plain.predict(data, rows).logits).mean() / 2


def test_what_cannot_be_fake_quantised_is_refused(base):
  for changes, message in (
    ({"model__transfer": "scratch"}, "model.transfer 'scratch'"),
    (
      {"model__transfer": "frozen", "model__weights": str(base)},
      "model.transfer 'frozen'",
    ),
    (
      {
        "model__transfer": "fine_tune",
        "model__weights": str(base),
        "model__dtype": "bfloat16",
      },
      "model.dtype 'bfloat16'",
    ),
  ):
    config = toy.load(model__fake_quant="int8", **changes)
    with pytest.raises(
      InputError, match=f"fake_quant: got 'int8' with {message}"
    ):
      network_lib.check(config)


@pytest.mark.extended
def test_several_seeds_are_what_each_is_alone(base, finished, tmp_path):
  config = toy.load(model__weights=str(base), train__replicas=2, **QUANTISED)
  summaries, _ = toy.run_seeds(config, tmp_path / "seeds")
  first, second = (summary["state_sha256"] for summary in summaries)
  assert first == finished[1]["state_sha256"]
  assert second != first
