"""Tests of what stays of an opened network without its weights."""

import dataclasses

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.report import inspection as inspection_lib
from mn_jax.report import kept_inspection, page, study_report
from mn_jax.report.inspection import Inspection
from mn_jax.studies import kept, results
from tests.studies import test_kept


def picture(seed: int) -> np.ndarray:
  noise = np.random.default_rng(seed).random((40, 50, 3))
  return (255 * noise).astype(np.uint8)


FOUND = Inspection(
  errors=picture(0),
  saliency=picture(1),
  embedding=picture(2),
  knn_accuracy=0.875,
  silhouette=np.nan,
  with_batch_statistics={"accuracy": 0.75, "loss": np.nan},
)


@pytest.fixture
def runs(tmp_path):
  made = test_kept.expand(tmp_path, kept=tmp_path / "toy" / "runs")
  for run in made:
    test_kept.finish(run)
    kept.keep(run, siblings=made)
  return made


def write_page(runs):
  folder = runs[0].kept.parents[2]
  found = results.collect(test_kept.MADE, runs)
  page.write(*study_report.of_kept(found, folder / "runs"), folder)
  files = [*folder.glob("figures/*"), folder / "report.md"]
  return {path.name: path.read_bytes() for path in files}


def test_pictures_and_numbers_stay(runs):
  figures = runs[0].kept.parents[2] / "figures"
  assert kept_inspection.read(runs[0].kept, figures) is None
  kept_inspection.write(FOUND, runs[0], figures)
  read = kept_inspection.read(runs[0].kept, figures)
  assert (read.knn_accuracy, np.isnan(read.silhouette)) == (0.875, True)
  assert read.with_batch_statistics == {"accuracy": 0.75, "loss": None}
  assert not read.is_multi_label
  for before, after in zip(
    inspection_lib.figures("a", FOUND),
    inspection_lib.figures("a", read),
    strict=True,
  ):
    assert page.webp(before) == page.webp(after)
    assert before.caption == after.caption
  # A network without errors or features has fewer pictures.
  lacking = dataclasses.replace(FOUND, errors=None, embedding=None)
  kept_inspection.write(lacking, runs[1], figures)
  read = kept_inspection.read(runs[1].kept, figures)
  assert (read.errors, read.embedding) == (None, None)
  assert read.saliency == page.webp(next(inspection_lib.figures("b", lacking)))


def test_a_page_is_the_same_whenever_it_is_made(runs):
  kept_inspection.write(FOUND, runs[0], runs[0].kept.parents[2] / "figures")
  first = write_page(runs)
  assert {"a_mistakes.webp", "a_saliency.webp", "a_embedding.webp"} < set(first)
  text = first["report.md"].decode()
  assert "figures/a_saliency.webp" in text
  assert "5-nearest-neighbour accuracy of its features 0.875" in text
  assert "b_saliency.webp" not in text
  assert write_page(runs) == first


def test_another_picture_is_refused(runs):
  figures = runs[0].kept.parents[2] / "figures"
  kept_inspection.write(FOUND, runs[0], figures)
  path = figures / "a_saliency.webp"
  path.write_bytes(path.read_bytes() + b"x")
  for _ in range(2):
    with pytest.raises(InputError, match=r"not the figure that .* was kept w"):
      kept_inspection.read(runs[0].kept, figures)
    path.unlink(missing_ok=True)
