"""Tables of exported files fit a terminal and say what is known."""

import json
import shutil

import pytest

from mn_jax.export import results
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import MINUS
from mn_jax.report import export_tables, page, run_analysis, run_report
from mn_jax.report.inspection import Inspections
from tests import toy_summary
from tests.report import toy_runs

BEST_STEP = toy_summary.FIELDS["best_step"]


def ends(value: float) -> dict:
  return {"value": value, "low": value - 0.0121, "high": value + 0.0109}


def entry(form="onnx", precision="int8_full", **changes) -> dict:
  verdict = {
    "images": 1200,
    "images_sha256": "4567",
    "before": {"accuracy": 0.96, "balanced_accuracy": 0.95, "auroc": None},
    "after": {"accuracy": 0.94, "balanced_accuracy": 0.93, "auroc": None},
    "differences": {
      "accuracy": ends(-0.02),
      "balanced_accuracy": ends(-0.0201),
      "auroc": {"value": None, "low": None, "high": None},
    },
    "changed": 1034,
    "lost": 1028,
    "gained": 4,
    "largest_logit_difference": 12.345,
    "mean_logit_difference": 0.0123,
    "resampled": False,
    "deciding": "balanced_accuracy",
  }
  times = {
    "milliseconds": 12.34,
    "to_network": ends(0.45),
    "to_float32": None if precision == "float32" else ends(0.9),
    "computing": 0.97,
  }
  return {
    "format": form,
    "precision": precision,
    "bytes": 2_390_000,
    "weights": "0123",
    "step": BEST_STEP,
    "parts": {"val": verdict, "test": verdict},
    "latency": {"batches": {"1": times, "8": times}},
    **changes,
  }


def entries(**changes) -> dict:
  return {
    f"{form} {precision}": entry(form, precision, **changes)
    for precision in ("int8_weights", "float32")
    for form in ("stablehlo", "litert")
  }


def test_terminals_of_80_columns_have_room(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  for title, table in export_tables.tables(entries(), narrow=True).items():
    table.show(Console(), title)
  lines = capsys.readouterr().out.splitlines()
  drawn = [line for line in lines if line.startswith(("│", "┃"))]
  assert max(map(len, drawn)) <= 80
  assert not any("…" in line for line in drawn)
  # No cell is broken into two lines.
  assert len(drawn) == 5 + 2 * 6
  assert any("stablehlo int8_weights" in line for line in drawn)
  assert any(
    f"{MINUS}0.020 ({MINUS}0.032, {MINUS}0.009)" in line for line in drawn
  )
  assert any("1034 (1028/4)" in line for line in drawn)


def test_rows_are_by_format_then_by_precision():
  table = export_tables.tables(entries())["Exported files"]
  assert [row[0] for row in table.rows] == [
    "litert float32",
    "litert int8_weights",
    "stablehlo float32",
    "stablehlo int8_weights",
  ]


def test_what_is_undefined_or_was_not_measured_is_left_out():
  found = export_tables.tables(entries(latency=None))
  assert found["Exported files"].columns == ("file", "MB")
  assert found["Exported files"].note == ""
  answers = found["Their answers on val, 1,200 images"]
  assert "AUROC" not in answers.columns
  assert answers.rows[0][:2] == ("the network", "0.950")
  assert [*export_tables.tables(entries(parts={}))] == ["Exported files"]
  assert export_tables.tables({}) == {}


@pytest.mark.parametrize("narrow", [False, True])
def test_notes_say_what_disturbs(narrow):
  def notes(found):
    tables = export_tables.tables(found, narrow=narrow).values()
    return " ".join(table.note for table in tables)

  plain = entries()
  assert "busy" not in notes(plain)
  assert "enlarged" not in notes(plain)
  disturbed = json.loads(json.dumps(plain))
  first = next(iter(disturbed.values()))
  first["latency"]["batches"]["8"]["computing"] = 0.5
  first["parts"]["val"]["resampled"] = True
  assert "The machine was busy" in notes(disturbed)
  assert "enlarged to the sizes" in notes(disturbed)


def test_the_page_of_a_run_has_files_that_are_still_there(tmp_path):
  folder = toy_runs.write(tmp_path / "run")
  (folder / "export").mkdir()
  names = {"a.onnx": b"one", "b.onnx": b"two"}
  for name, content in names.items():
    (folder / "export" / name).write_bytes(content)
  results.write(
    folder / "export",
    {
      name: entry(sha256=results.hashlib.sha256(content).hexdigest())
      for name, content in names.items()
    },
  )
  (folder / "export" / "b.onnx").unlink()

  def text(folder):
    document = run_report.build(
      run_analysis.analyze(folder), Inspections({}, {})
    )
    return page.html(document, {x.name: b"" for x in document.all_figures()})

  shown = text(folder)
  assert shown.count(">onnx int8_full<") == 3
  assert "Their answers on test, 1,200 images" in shown
  shutil.rmtree(folder / "export")
  assert "Exported files" not in text(folder)


def test_files_of_another_step_are_not_those_of_the_results(tmp_path):
  folder = toy_runs.write(tmp_path / "run")
  (folder / "export").mkdir()
  (folder / "export" / "a.onnx").write_bytes(b"one")
  digest = results.hashlib.sha256(b"one").hexdigest()
  for step, shown in ((BEST_STEP, 3), (BEST_STEP + 1, 0)):
    file = entry(sha256=digest, step=step)
    results.write(folder / "export", {"a.onnx": file})
    found = export_tables.of_run(run_analysis.analyze(folder))
    assert len(found) == shown


def test_a_refused_file_has_a_star():
  found = entries() | {"more": entry(refused=True)}
  for narrow in (False, True):
    tables = export_tables.tables(found, narrow=narrow)
    assert tables["Exported files"].rows[-3][0] == "onnx int8_full*"
    notes = [x.note for x in tables.values()]
    assert notes[-1].endswith("*: refused and not written.")
    plain = export_tables.tables(entries(), narrow=narrow)
    assert not any("*:" in x.note for x in plain.values())


def test_a_run_selected_on_the_test_shows_no_test(tmp_path):
  folder = toy_runs.write(tmp_path / "run", chosen_on="test")
  (folder / "export").mkdir()
  (folder / "export" / "a.onnx").write_bytes(b"one")
  digest = results.hashlib.sha256(b"one").hexdigest()
  results.write(folder / "export", {"a.onnx": entry(sha256=digest)})
  found = export_tables.of_run(run_analysis.analyze(folder))
  assert [*found] == ["Exported files", "Their answers on val, 1,200 images"]
