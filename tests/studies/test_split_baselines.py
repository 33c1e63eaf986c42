"""Tests of the baselines of a study, each on the split of its runs."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.metrics import baselines
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
    }
    text = json.dumps(summary)
    (run.workdir / "summary.json").write_text(text)
  split_baselines.measure_missing(Console(), folder, runs)
  return made, runs, splits, folder


def test_each_split_has_its_own_baselines(done):
  _, runs, splits, folder = done
  for data in splits:
    found = split_baselines.read(folder, data.split.sha256)
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
  assert "No baselines for a seed 0: data: the split is" in out
  assert not list(pathlib.Path(tmp_path).iterdir())


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
