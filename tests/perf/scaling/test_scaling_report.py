"""Reports of folders that were written by hand."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from mn_jax.perf.scaling.report import figures
from mn_jax.perf.scaling.report import rows as rows_lib
from mn_jax.tools import scaling
from tests.perf.scaling import toy_scaling as toy


@pytest.fixture
def no_figures(monkeypatch):
  """Blank figures, which take no time to draw."""
  blank = np.zeros((2, 2, 3), np.uint8)
  for name in ("measured", "predicted", "cost"):
    monkeypatch.setattr(figures, name, lambda *_: blank)


@pytest.fixture
def measured(tmp_path):
  found = {}
  for repeat in (1, 2, 3):
    for kind, rate in (("synthetic", 100.0), ("real", 80.0)):
      for devices in (1, 2):
        point = toy.point(devices, repeat, input=kind)
        speed = rate * devices * (1 if devices == 1 else 0.75)
        found[point] = toy.record(speed, point, train_examples=500)
  broken = toy.point(4, 1)
  found[broken] = toy.failure("RESOURCE_EXHAUSTED: no room | none")
  return toy.write(tmp_path / "measured", found)


@pytest.fixture
def gpu(tmp_path):
  point = toy.point(1)
  record = toy.record(
    400.0, point, device_kind="NVIDIA H200", train_examples=500, mfu=0.3
  )
  return toy.write(tmp_path / "gpu", {point: record})


@pytest.fixture
def plan(tmp_path):
  return toy.write_plan(
    tmp_path / "plan",
    [
      toy.plan_row("v5e", 1, 1000.0),
      toy.plan_row("v5e", 4, 3600.0, efficiency=0.9, compiled=False),
      toy.refused_row("v5e", 8, "needs 17.00 GiB of 16.00"),
      toy.plan_row("H200", 1, 500.0, note="counted, not compiled"),
    ],
  )


def run(capsys, *arguments):
  code = scaling.main(["report", *map(str, arguments)])
  out, err = capsys.readouterr()
  assert (code, err) == (0, "")
  return out


def rows(text, title):
  """The cells of a Markdown table, by the heading above it."""
  part = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
  return [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in part.splitlines()
    if line.startswith("|") and not line.startswith("|---")
  ]


@pytest.mark.usefixtures("no_figures")
def test_a_page_needs_no_network(capsys, tmp_path, measured, gpu, plan):
  out = run(capsys, measured, gpu, plan, f"--output={tmp_path / 'out'}")
  assert "Report: file:///" in out
  page = (tmp_path / "out" / "report.html").read_text()
  assert "<script" not in page
  assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
  assert "url(" not in page
  # Measured on two kinds of devices, and two figures of the plan.
  assert page.count("<img") == 4
  found = json.loads((tmp_path / "out" / "report.json").read_text())
  assert len(found["planned"]) == 4
  (error,) = found["errors"]
  assert error["error"] == pytest.approx(0.25)


def test_markdown_has_its_plots_beside_it(capsys, tmp_path, measured, plan):
  page = tmp_path / "docs" / "scaling.md"
  (tmp_path / "docs" / "scaling").mkdir(parents=True)
  (tmp_path / "docs" / "scaling" / "old.png").touch()
  run(
    capsys, measured, plan, f"--output={tmp_path / 'o'}", f"--markdown={page}"
  )
  text = page.read_text()
  links = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)
  assert len(links) == 3
  for link in links:
    assert link.endswith(".png")
    with Image.open(page.parent / link) as image:
      assert image.width == 1000
      assert len(np.unique(np.asarray(image.convert("RGB")))) > 10
  assert {p.name for p in (tmp_path / "docs" / "scaling").iterdir()} == {
    link.partition("/")[2] for link in links
  }
  assert not list(page.parent.glob("*.partial"))
  assert toy.COMMAND in text
  assert toy.PLAN in text
  assert "--markdown=" in text


@pytest.mark.usefixtures("no_figures")
def test_tables_hold_what_was_measured(capsys, tmp_path, measured):
  page = tmp_path / "scaling.md"
  run(capsys, measured, f"--output={tmp_path / 'o'}", f"--markdown={page}")
  text = page.read_text()
  table = rows(text, "mobilenet_v1, 50 px, measured on cpu")
  assert table[0][5:] == [
    "images/s",
    "per device",
    "speed-up",
    "efficiency",
    "95 %",
    "repeats",
    "",
  ]
  by_place = {(row[1], row[2]): row[4:] for row in table[1:6]}
  # Every repeat the same: no spread.
  assert by_place["synthetic", "2"] == [
    "8",
    "150",
    "75",
    "1.50",
    "75.0%",
    "75.0% to 75.0%",
    "3",
    "",
  ]
  assert by_place["real", "1"][1:4] == ["80", "80", "1.00"]
  assert by_place["real", "1"][5] == "-"
  # Bars in what a library says are no columns.
  assert by_place["synthetic", "4"][-1] == (
    r"not measured: RESOURCE_EXHAUSTED: no room \| none"
  )
  glance = rows(text, "At a glance")
  assert len({len(row) for row in glance}) == 1
  # Two epochs of 500 images at 150 a second, on two devices.
  (row,) = [r for r in glance if r[5] == "measured, synthetic" and r[2] == "2"]
  assert row[6:] == ["150", "75.0%", "6.7 s", "0.0037"]
  assert "Predictions: not planned." in text


@pytest.mark.usefixtures("no_figures")
def test_a_step_that_does_not_fit_has_a_remark(capsys, tmp_path, plan):
  page = tmp_path / "scaling.md"
  run(capsys, plan, f"--output={tmp_path / 'o'}", f"--markdown={page}")
  text = page.read_text()
  table = rows(text, "mobilenet_v1, 50 px, predicted")
  by_place = {(row[0], row[1]): row for row in table[1:5]}
  assert by_place["v5e", "8"][-1] == "does not fit: needs 17.00 GiB of 16.00"
  assert by_place["v5e", "8"][7:12] == ["-"] * 5
  assert by_place["v5e", "4"][-1] == "not compiled"
  assert by_place["H200", "1"][-1] == "counted, not compiled"
  assert by_place["v5e", "1"][6:] == [
    "3.00 of 16.00",
    "4.00",
    "1,000",
    "1.00",
    "100.0%",
    "memory",
    "7 all-reduce, 2.0 MB, overlapped",
    "",
  ]
  assert "1 of 4 options does not fit." in text
  assert "Measurements: not measured." in text


@pytest.mark.usefixtures("no_figures")
def test_predictions_beside_measurements(capsys, tmp_path, measured, gpu, plan):
  page = tmp_path / "scaling.md"
  run(capsys, measured, gpu, plan, f"--output={tmp_path}", f"--markdown={page}")
  table = rows(page.read_text(), "Predicted beside measured")
  assert [row[1:] for row in table[1:]] == [
    ["H200", "1", "4", "synthetic", "500", "400", "+25%"],
    ["v5e", "-", "-", "-", "-", "not measured", "-"],
    ["cpu", "-", "-", "-", "no published rates", "measured", "-"],
  ]


def test_different_batches_are_not_paired(tmp_path, gpu):
  rows = [
    toy.plan_row("H200", 1, 500.0, batch_per_chip=8, global_batch=8),
    toy.plan_row("H100", 1, 500.0),
  ]
  _, planned_rows = rows_lib.read_plan(toy.write_plan(tmp_path / "other", rows))
  measured_rows = rows_lib.summarize(rows_lib.read_points(gpu))
  assert rows_lib.pairs(measured_rows, planned_rows) == []


@pytest.mark.usefixtures("no_figures")
def test_time_and_cost_of_training(capsys, tmp_path, gpu, plan):
  page = tmp_path / "scaling.md"
  run(
    capsys,
    gpu,
    plan,
    f"--output={tmp_path}",
    f"--markdown={page}",
    "--price=v5e=3600",
    "--price=h200=36000",
  )
  table = rows(page.read_text(), "At a glance")
  assert table[0][-1] == "USD"
  by_place = {(row[1], row[2], row[5]): row[-3:] for row in table[1:]}
  # Two epochs of 3,600 images at 1,000 and 3,600 a second.
  assert by_place["v5e", "1", "predicted"] == ["7.2 s", "0.002", "7.20"]
  assert by_place["v5e", "4", "predicted"] == ["2 s", "0.0022", "8.00"]
  # Two epochs of 500 images at 400 a second.
  assert by_place["NVIDIA H200", "1", "measured, synthetic"] == [
    "2.5 s",
    "0.00069",
    "25.00",
  ]


def test_a_report_without_any_measurement(capsys, tmp_path):
  point = toy.point(1)
  folder = toy.write(tmp_path / "none", {point: toy.failure("no room")})
  plan = toy.write_plan(
    tmp_path / "plan", [toy.refused_row("v5e", 2, "no slice of 2")]
  )
  page = tmp_path / "scaling.md"
  run(capsys, folder, plan, f"--markdown={page}")
  text = page.read_text()
  assert "not measured: no room" in text
  assert "does not fit: no slice of 2" in text
  assert "![" not in text
  assert (folder / "report" / "report.html").is_file()
