"""The report as its users make it."""

import json

import jax
import pytest

from mn_jax.tools import report
from tests import toy_transfer
from tests.report import toy_runs as toy


@pytest.mark.extended
def test_a_trained_run_is_opened(run, tmp_path, capsys):
  with jax.numpy_dtype_promotion("standard"):
    code = report.main([str(run), f"--output={tmp_path / 'out'}"])
  assert code == 0
  assert "Report: file:///" in capsys.readouterr().out
  text = (tmp_path / "out" / "report.md").read_text()
  for name in ("majority class", "mean colour", "colour histogram"):
    assert f"| {name} |" in text
  names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
  assert names == {
    f"run_{kind}"
    for kind in (
      "curves",
      "confusion",
      "decisions",
      "mistakes",
      "saliency",
      "embedding",
    )
  }
  numbers = json.loads((tmp_path / "out" / "report.json").read_text())
  (baselines,) = numbers["baselines"].values()
  summary = json.loads((run / "summary.json").read_text())
  # The file of answers that the run ended with is that of its summary.
  (found,) = numbers["runs"].values()
  for name in ("accuracy", "auroc", "loss", "brier"):
    assert found["intervals"][name]["value"] == pytest.approx(
      summary[f"test/{name}"], rel=1e-12
    )
  rate = baselines["majority class"]["accuracy"]
  assert rate == summary["test/majority_rate"]
  assert not (run / "report").exists()


def test_a_run_can_choose_by_the_test_and_then_has_none(tmp_path, capsys):
  config = toy_transfer.load(
    model__name="simple_cnn", model__shallow=False, eval__part="test"
  )
  with jax.numpy_dtype_promotion("standard"):
    for stop_at in (5, None):  # a resumed run has the whole curve too
      toy_transfer.run(config, tmp_path / "run", stop_at=stop_at)
  lines = toy_transfer.logged(tmp_path / "run")
  curve = {
    line["step"]: line["test/accuracy"]
    for line in lines[1:]
    if "test/accuracy" in line
  }
  assert sorted(curve) == [3, 6]
  assert not any("val/accuracy" in line for line in lines)
  summary = toy_transfer.read(tmp_path / "run", "summary.json")
  assert summary["chosen_on"] == "test"
  assert summary["last/test/accuracy"] == curve[6]
  assert summary["test/accuracy"] == curve[summary["best_step"]]
  assert report.main([str(tmp_path / "run"), "--numbers"]) == 0
  text = (tmp_path / "run/report/report.md").read_text()
  assert "its metrics there are not shown" in text


def test_a_study_needs_no_network_for_its_numbers(
  tmp_path, capsys, monkeypatch
):
  """A file of a study means its folder; runs here have no checkpoints."""
  monkeypatch.chdir(tmp_path)
  folder = tmp_path / "runs" / "idc"
  toy.write_study(folder)
  for arguments, text, count in (
    ([str(folder)], "Not opened: ", 2),
    (["configs/studies/idc.py", "--numbers"], "not run: never beats a\n", 1),
  ):
    assert report.main(arguments) == 0
    assert capsys.readouterr().out.count(text) == count
    (folder / "report" / "report.html").unlink()


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder = toy.write(tmp_path / "run")
  (folder / "predictions" / "val.npz").write_bytes(b"PK")
  for text, *arguments in (
    ("has no crossval.json, results.json or summary.json", tmp_path / "no"),
    ("got none or several",),
    ("got none or several", tmp_path, "--reproduction=x.md"),
    ("val.npz cannot be read", folder),
    ("got 'runs/idc'", "configs/studies/idc.py"),
    ("docs/results is not here", "--reproduction=x.md"),
  ):
    assert report.main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("report: ")
    assert err.count("\n") == 1
    assert text in err
  assert not (folder / "report").exists()
