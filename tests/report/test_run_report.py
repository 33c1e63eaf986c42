"""Tests of reports of single runs."""

import re

import numpy as np

from mn_jax.observe import formatting
from mn_jax.report import page, run_analysis, run_report
from mn_jax.report.inspection import Inspection, Inspections
from tests.report import toy_runs as toy
from tests.report.test_study_report import NOTHING, Reader


def test_page_of_a_single_run(tmp_path):
  folder = toy.write(tmp_path / "run", classes=("a", "b", "c"))
  analysis = run_analysis.analyze(folder)
  document = run_report.build(analysis, NOTHING)
  text = page.markdown(document, "figures")
  images = {figure.name: b"" for figure in document.all_figures()}
  Reader(page.html(document, images))
  accuracy = formatting.number(analysis.intervals["accuracy"].value)
  assert f"| accuracy | {accuracy} |" in text
  assert f"accuracy {accuracy} (" in document.summary[0]
  assert "python -m mn_jax.main --config=idc_v1" in text
  assert "- optimizer: adamw, weight decay" in text
  assert "| class | images |" in text
  assert "two patients are alike" in text
  assert "batch statistics" not in text


def test_batch_statistics_have_a_column(tmp_path):
  analysis = run_analysis.analyze(toy.write(tmp_path / "run"))
  blank = np.zeros((40, 60, 3), np.uint8)
  measured = dict.fromkeys(analysis.intervals, 0.125)
  inspection = Inspection(None, blank, None, 0.5, 0.5, measured)
  inspections = Inspections({}, {analysis.path: inspection})
  text = page.markdown(run_report.build(analysis, inspections), "figures")
  assert "| batch statistics |" in text
  assert re.search(r"\| AUROC \|.*\| 0.125 \|$", text, re.MULTILINE)
  numbers = run_report.numbers([analysis], inspections)
  assert numbers["runs"][f"{tmp_path.name}/run"]["by_batches"] == measured
