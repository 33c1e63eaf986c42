"""Tests of the evaluation of runs whose images may have several labels."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from mn_jax.errors import InputError
from mn_jax.evaluation import evaluation
from mn_jax.metrics import predictions, thresholds
from mn_jax.report import evaluation_report, evaluation_tables, page
from mn_jax.run import reopen
from tests.evaluation import new_sample

pytestmark = pytest.mark.usefixtures("standard_promotion")
LABELS = ("tumour", "left", "odd")


def write_table(folder):
  """A table of the images, with three labels of 0 or 1 each."""
  rows = [f"path,{','.join(LABELS)},case"]
  for path in new_sample.files(folder):
    x = int(path.name.split("_x")[1].split("_")[0]) // 50
    labels = (path.name[-5], int(x % 8 < 4), x % 2)
    cells = (path.relative_to(folder), *labels, path.parts[-3])
    rows.append(",".join(map(str, cells)))
  table = folder / "labels.csv"
  table.write_text("\n".join(rows), "utf-8")
  return table


@pytest.fixture(scope="module")
def several(tmp_path_factory):
  """A run of several labels, and the table of its new images."""
  root = tmp_path_factory.mktemp("labels")
  own, new = new_sample.write(root)
  workdir = new_sample.train(
    own,
    root / "run",
    data__name="image_folder",
    data__path=str(write_table(own)),
    data__label=LABELS,
    data__group="case",
    train__label_smoothing=0.0,
  )
  return workdir, write_table(new)


def test_labels_have_metrics_with_intervals_of_their_own(several):
  workdir, table = several
  run = reopen.open_run(workdir)
  options = dataclasses.replace(new_sample.QUICK, views="horizontal")
  found = evaluation.evaluate([run, _other(run)], table, options=options)
  outputs = found.images.predictions
  assert outputs.labels.shape == (len(new_sample.files(table.parent)), 3)
  scores = scipy.special.expit(outputs.logits.astype(float))
  for i in range(3):
    one = found.per_label["auroc"][i]
    expected = sklearn.metrics.roc_auc_score(outputs.labels[:, i], scores[:, i])
    assert one.value == pytest.approx(expected)
    assert one.low <= one.value <= one.high
  val = predictions.read(workdir / "predictions" / "val.npz").predictions
  assert len(found.thresholds) == 3
  own = evaluation.evaluate([run], table, options=new_sample.QUICK)
  np.testing.assert_allclose(own.thresholds, thresholds.of_labels(val))
  assert own.matrix is None
  assert found.gain.keys() >= {"loss", "macro_auroc"}
  titles = evaluation_tables.tables(found)
  assert "Labels" in titles
  assert "Classes" not in titles
  decisions = evaluation_report.measure(found)
  document = evaluation_report.build(found, decisions, "labels.csv")
  images = {x.name: page.webp(x) for x in document.all_figures()}
  assert "confusion" not in images
  assert "Members of the ensemble" in page.html(document, images)
  sets = dataclasses.replace(new_sample.QUICK, conformal=0.5)
  with pytest.raises(InputError, match="conformal: got images with several"):
    evaluation.evaluate([run], table, options=sets)


def _other(run):
  """The run at another step, in another place."""
  return dataclasses.replace(
    run, path=run.path.parent / "run", step=run.step + 1
  )
