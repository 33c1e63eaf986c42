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

COUNT = {
  "flops": 1.1e12,
  "bytes": 5e8,
  "memory_bytes": 6 << 30,
  "step_seconds": 0.0075,
}


def measured(folder):
  records = {}
  for repeat in (1, 2, 3):
    for kind, rate in (("synthetic", 100.0), ("real", 80.0)):
      for devices in (1, 2):
        point = toy.point(devices, repeat, input=kind)
        speed = rate * devices * (1 if devices == 1 else 0.75)
        records[point] = toy.record(speed, point, train_examples=500)
  broken = toy.point(4, 1)
  records[broken] = toy.failure("RESOURCE_EXHAUSTED: no room | none")
  return toy.write(folder / "measured", records)


def gpu(folder):
  point = toy.point(1)
  record = toy.record(
    400.0, point, device_kind="NVIDIA H200", train_examples=500, mfu=0.3
  )
  return toy.write(folder / "gpu", {point: record})


def plan(folder):
  return toy.write_plan(
    folder / "plan",
    [
      toy.plan_row("v5e", 1, 1000.0),
      toy.plan_row("v5e", 4, 3600.0, efficiency=0.9, compiled=False),
      toy.refused_row("v5e", 8, "needs 17.00 GiB of 16.00"),
      toy.plan_row("H200", 1, 500.0, note="counted, not compiled"),
      toy.plan_row("H100", 1, 400.0, counted=COUNT),
      toy.plan_row("H100", 8, 3000.0, counted=COUNT),
    ],
  )


def report(*arguments):
  assert scaling.main(["report", *map(str, arguments)]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A report with prices, with blank figures, which take no time to draw."""
  folder = tmp_path_factory.mktemp("scaling")
  blank = np.zeros((2, 2, 3), np.uint8)
  with pytest.MonkeyPatch.context() as patch:
    for name in ("measured", "predicted", "cost"):
      patch.setattr(figures, name, lambda *_: blank)
    report(
      *(measured(folder), gpu(folder), plan(folder)),
      *("--price=v5e=3600", "--price=h200=36000"),
      f"--output={folder / 'out'}",
      f"--markdown={folder / 'scaling.md'}",
    )
  return folder


@pytest.fixture
def text(folder):
  return (folder / "scaling.md").read_text()


def rows(text, title, after=""):
  """The cells of the Markdown tables below a heading, and a text below it."""
  part = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
  part = part.partition(after)[2] if after else part
  return [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in part.splitlines()
    if line.startswith("|") and not line.startswith("|---")
  ]


def test_a_page_needs_no_network(folder):
  page = (folder / "out" / "report.html").read_text()
  assert "<script" not in page
  assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
  assert "url(" not in page
  # Measured on two kinds of devices, and two figures of the plan.
  assert page.count("<img") == 4
  numbers = json.loads((folder / "out" / "report.json").read_text())
  assert len(numbers["planned"]) == 6
  (error,) = numbers["errors"]
  assert error["error"] == pytest.approx(0.25)


def test_markdown_has_its_plots_beside_it(tmp_path):
  page = tmp_path / "docs" / "scaling.md"
  (tmp_path / "docs" / "scaling").mkdir(parents=True)
  (tmp_path / "docs" / "scaling" / "old.png").touch()
  folders = measured(tmp_path), plan(tmp_path)
  report(*folders, f"--output={tmp_path / 'o'}", f"--markdown={page}")
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


def test_tables_of_measurements(text):
  table = rows(text, "mobilenet_v1, 50 px, measured on cpu")
  titles = ["images/s", "per device", "speed-up", "efficiency", "95 %"]
  assert table[0][5:] == [*titles, "repeats", ""]
  by_place = {(row[1], row[2]): row[4:] for row in table[1:6]}
  # Every repeat the same: no spread.
  spread = ["75.0%", "75.0% to 75.0%", "3", ""]
  assert by_place["synthetic", "2"] == ["8", "150", "75", "1.50", *spread]
  assert by_place["real", "1"][1:4] == ["80", "80", "1.00"]
  assert by_place["real", "1"][5] == "-"
  # Bars in what a library says are no columns.
  assert by_place["synthetic", "4"][-1] == (
    r"not measured: RESOURCE_EXHAUSTED: no room \| none"
  )


def test_tables_of_predictions(text):
  title = "mobilenet_v1, 50 px, predicted"
  folded = "<details><summary>Every number of chips</summary>\n"
  table = rows(text, title, after=folded)
  by_place = {(row[0], row[1]): row for row in table[1:7]}
  assert by_place["v5e", "8"][-1] == "does not fit: needs 17.00 GiB of 16.00"
  assert by_place["v5e", "8"][7:12] == ["-"] * 5
  assert by_place["v5e", "4"][-1] == "not compiled"
  assert by_place["H200", "1"][-1] == "counted, not compiled"
  speed = ["4.00", "1,000", "1.00", "100.0%", "memory"]
  links = "7 all-reduce, 2.00 MB, overlapped"
  assert by_place["v5e", "1"][6:] == ["3.00 of 16.00", *speed, links, ""]
  assert "1 of 6 options does not fit." in text
  assert text.count("<details>") == text.count("</details>") == 4
  programs = {row[0]: row[1:] for row in rows(text, title)[1:4]}
  assert list(programs) == ["v5e", "H200", "H100"]
  sizes = ["3.00 of 16.00", "250.00", "250.0", "memory"]
  assert programs["v5e"] == ["weak", "1", "4", *sizes, "4.00", "1,000"]
  # Only of compiled programs is the count's error known.
  errors = rows(text, title)[4:6]
  assert errors[0][4:] == ["FLOPs", "bytes", "memory", "step"]
  off = ["+10%", "\N{MINUS SIGN}50%", "+100%", "\N{MINUS SIGN}25%"]
  assert errors[1] == ["H100", "weak", "1", "4", *off]


def test_predictions_beside_measurements(text):
  table = rows(text, "Predicted beside measured")
  assert [row[1:] for row in table[1:]] == [
    ["H200", "1", "4", "synthetic", "500", "400", "+25%"],
    ["v5e", "-", "-", "-", "-", "not measured", "-"],
    ["H100", "-", "-", "-", "-", "not measured", "-"],
    ["cpu", "-", "-", "-", "no published rates", "measured", "-"],
  ]


def test_different_batches_are_not_paired(tmp_path):
  rows = [
    toy.plan_row("H200", 1, 500.0, batch_per_chip=8, global_batch=8),
    toy.plan_row("H100", 1, 500.0),
  ]
  _, planned_rows = rows_lib.read_plan(toy.write_plan(tmp_path / "other", rows))
  measured_rows = rows_lib.summarize(rows_lib.read_points(gpu(tmp_path)))
  assert rows_lib.pairs(measured_rows, planned_rows) == []


def test_time_and_cost_of_training(text):
  table = rows(text, "At a glance")
  assert table[0][-1] == "USD"
  assert len({len(row) for row in table}) == 1
  by_place = {(row[1], row[2]): row[3:] for row in table[1:]}
  # Two epochs of 3,600 images at 1,000 and 3,600 a second.
  assert by_place["v5e", "predicted, weak"] == [
    *("4", "1 to 4", "1,000 to 3,600", "90.0%"),
    *("7.2 s to 2 s", "0.002 to 0.0022", "7.20 to 8.00"),
  ]
  assert by_place["H200", "counted, weak"][1:3] == ["1", "500"]
  assert by_place["H100", "predicted, weak"][1] == "1 to 8"
  # Two epochs of 500 images at 400 a second, and at 150 on two devices.
  key = "measured, synthetic, weak"
  assert by_place["NVIDIA H200", key] == [
    *("4", "1", "400", "100.0%", "2.5 s", "0.00069", "25.00"),
  ]
  assert by_place["cpu", key] == [
    *("4", "1 to 2", "100 to 150", "75.0%"),
    *("10 s to 6.7 s", "0.0028 to 0.0037", "-"),
  ]


def test_a_report_without_any_measurement(tmp_path):
  point = toy.point(1)
  folder = toy.write(tmp_path / "none", {point: toy.failure("no room")})
  plan = toy.write_plan(
    tmp_path / "plan", [toy.refused_row("v5e", 2, "no slice of 2")]
  )
  page = tmp_path / "scaling.md"
  report(folder, plan, f"--markdown={page}")
  text = page.read_text()
  assert "not measured: no room" in text
  assert "does not fit: no slice of 2" in text
  assert "![" not in text
  assert (folder / "report" / "report.html").is_file()
  for source, note in (
    (folder, "Predictions: not planned."),
    (plan, "Measurements: not measured."),
  ):
    report(source, f"--markdown={page}", f"--output={tmp_path / 'o'}")
    assert note in page.read_text()
