"""Runs and new images that tests of evaluations share."""

import pytest

from mn_jax.evaluation import evaluation
from mn_jax.run import reopen
from tests.evaluation import new_sample


@pytest.fixture(scope="session")
def places(tmp_path_factory):
  root = tmp_path_factory.mktemp("evaluation")
  own, new = new_sample.write(root)
  return root, own, new


@pytest.fixture(scope="session")
def workdirs(places):
  """Two seeds of one split, and a run of another split."""
  root, own, _ = places
  return [
    new_sample.train(own, root / "runs" / name, **fields)
    for name, fields in (
      ("a", {}),
      ("b", {"seed": 1}),
      ("c", {"seed": 2, "data__split_seed": 5}),
    )
  ]


@pytest.fixture(scope="session")
def runs(workdirs):
  return [reopen.open_run(path) for path in workdirs]


@pytest.fixture(scope="session")
def found(runs, places):
  return evaluation.evaluate(runs[:1], places[2], options=new_sample.QUICK)
