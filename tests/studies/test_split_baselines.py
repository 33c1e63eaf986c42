"""Tests of the baselines of a study, each on the split of its runs."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.metrics import baselines
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.observe.console import Console
from mn_jax.run import split_data
from mn_jax.studies import evidence, expansion, results, split_baselines
from tests import toy_summary
from tests.studies.test_study import TOY, expand

SMALL = ("data.image_size=16",)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """Two seeds that split the sample anew, complete; and their splits."""
  folder = tmp_path_factory.mktemp("study")
  cache = tmp_path_factory.mktemp("cache")
  made = dataclasses.replace(TOY, resplit=True, pairs=())
  runs = expand(
    made,
    folder=folder,
    only=["a"],
    overrides=(*SMALL, f"data.cache_dir={cache}"),
  )
  splits = []
  for run in runs:
    config = files.load_config(run.member.config, run.arguments[1:])
    splits.append(split_data.load(config.data, lambda *_: None))
    run.workdir.mkdir(parents=True)
    summary = {
      **toy_summary.FIELDS,
      "test/accuracy": 0.75,
      "test/auroc": 0.75,
      "split_sha256": splits[-1].split.sha256,
      "images_sha256": splits[-1].cache.sha256,
    }
    text = json.dumps(summary)
    (run.workdir / "summary.json").write_text(text)
  split_baselines.measure_missing(Console(), folder, runs)
  return made, runs, splits, folder


def test_each_split_has_its_own_baselines(done):
  _, runs, splits, folder = done
  for run, data in zip(runs, splits, strict=True):
    found = split_baselines.read(folder, split_baselines.key(run.summary()))
    expected = baselines.predict(
      data.cache.images,
      data.cache.labels,
      train=np.sort(data.part("train")),
      rows=data.part("test"),
      classes=2,
    )
    assert found.keys() == expected.keys()
    for name, named in found.items():
      outputs = expected[name]
      np.testing.assert_array_equal(named.predictions.ids, outputs.ids)
      np.testing.assert_allclose(
        named.predictions.logits, outputs.logits, rtol=1e-5
      )
      assert set(named.groups) == set(data.groups("test"))
  rows = split_baselines.rows(folder, evidence.read(runs))
  of_seed = rows["a"]["colour histogram"]
  first, second = (of_seed[i].summary["test/accuracy"] for i in (0, 1))
  assert first != second


def test_rows_are_compared_with_the_baseline_of_their_split(done):
  made, runs, _, _ = done
  collected = results.collect(made, runs)
  json.dumps(collected, allow_nan=False)
  found = {x["name"]: x for x in collected["baseline_rows"]}
  assert set(found) == {"majority class", "mean colour", "colour histogram"}
  numbers = found["colour histogram"]["metrics"]["accuracy"]
  gaps = [0.75 - x for x in numbers["values"]]
  np.testing.assert_allclose(numbers["ahead"]["values"], gaps)
  assert numbers["ahead"]["p_holm"] is None  # of two seeds
  blind = found["majority class"]["metrics"]["auroc"]
  assert blind["values"] == [0.5, 0.5]


def test_what_is_there_is_not_measured_again(done, monkeypatch):
  _, runs, _, folder = done
  monkeypatch.setattr(split_baselines, "predict", None)
  split_baselines.measure_missing(Console(), folder, runs)


def test_images_that_are_not_there_are_named(done, capsys, tmp_path):
  _, runs, _, _ = done
  other = [
    dataclasses.replace(run, arguments=(*run.arguments, "data.split_seed=7"))
    for run in runs[:1]
  ]
  split_baselines.measure_missing(Console(), tmp_path, other)
  out = " ".join(capsys.readouterr().out.split())
  assert "No baselines for a seed 0: data: the sha256 of the split is" in out
  assert not list(pathlib.Path(tmp_path).iterdir())


def test_a_row_of_other_images_has_its_own_baselines(done, tmp_path):
  _, runs, _, folder = done
  change = "data.stain_normalisation=macenko"
  run = runs[0]
  config = files.load_config(run.member.config, (*run.arguments[1:], change))
  data = split_data.load(config.data, lambda *_: None)
  digests = {
    "split_sha256": data.split.sha256,
    "images_sha256": data.cache.sha256,
  }
  other = dataclasses.replace(
    run, workdir=tmp_path / "b" / "seed0", arguments=(*run.arguments, change)
  )
  other.workdir.mkdir(parents=True)
  text = json.dumps({**run.summary(), **digests})
  (other.workdir / "summary.json").write_text(text)
  split_baselines.measure_missing(Console(), tmp_path, [run, other])
  plain, normalised = (
    split_baselines.read(tmp_path, split_baselines.key(x.summary()))
    for x in (run, other)
  )
  name = "colour histogram"
  kept = split_baselines.read(folder, split_baselines.key(run.summary()))
  logits = [x[name].predictions.logits for x in (plain, normalised, kept)]
  np.testing.assert_array_equal(logits[0], logits[2])
  assert not np.allclose(logits[0], logits[1])


def test_baselines_of_other_images_than_the_run_s_are_not_measured(
  done, capsys, tmp_path
):
  _, runs, _, _ = done
  workdir = tmp_path / "a" / "seed0"
  workdir.mkdir(parents=True)
  text = json.dumps({**runs[0].summary(), "images_sha256": "0" * 64})
  (workdir / "summary.json").write_text(text)
  other = dataclasses.replace(runs[0], workdir=workdir)
  split_baselines.measure_missing(Console(), tmp_path, [other])
  out = " ".join(capsys.readouterr().out.split())
  assert "No baselines for a seed 0: data: the sha256 of the images is" in out
  assert not (tmp_path / "baselines").exists()


def test_what_was_not_written_to_its_end_is_measured_again(
  done, monkeypatch, tmp_path
):
  _, runs, _, _ = done
  write = predictions_lib.NamedPredictions.write
  written = []

  def stop(self, path, **kwargs):
    if written:
      raise KeyboardInterrupt
    written.append(path)
    write(self, path, **kwargs)

  with monkeypatch.context() as patch:
    patch.setattr(predictions_lib.NamedPredictions, "write", stop)
    with pytest.raises(KeyboardInterrupt):
      split_baselines.measure_missing(Console(), tmp_path, runs[:1])
  of = split_baselines.key(runs[0].summary())
  assert written
  assert not split_baselines.read(tmp_path, of)
  split_baselines.measure_missing(Console(), tmp_path, runs[:1])
  assert len(split_baselines.read(tmp_path, of)) == 3
  assert [x.name for x in (tmp_path / "baselines").iterdir()] == [of]


def test_a_study_is_resplit_by_its_seeds(done):
  _, runs, _, _ = done
  ratios = results.planned_ratios(runs)
  assert ratios == {"a": pytest.approx(0.2 / 0.65)}
  together = expand(only=["a"])
  assert results.planned_ratios(together) == {"a": 0}
  folds = expansion.expand(
    TOY,
    folder=pathlib.Path("runs"),
    seeds=2,
    sample=True,
    weights=None,
    only=["a"],
    overrides=("data.split=fixed", "data.name=chest_xray_sample"),
  )
  assert results.planned_ratios(folds) == {"a": 0}
