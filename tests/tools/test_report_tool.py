"""The report as its users make it."""

import json
import pathlib

import jax
import pytest

from mn_jax.tools import report
from tests import toy_transfer
from tests.report import toy_runs as toy

ROOT = pathlib.Path(__file__).parents[2]


def refuse(capsys, text, *arguments):
  assert report.main(list(map(str, arguments))) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.startswith("report: ")
  assert err.count("\n") == 1
  assert text in err


@pytest.mark.extended
def test_a_trained_run_is_opened(tmp_path, capsys):
  with jax.numpy_dtype_promotion("standard"):
    toy_transfer.run(
      toy_transfer.load(model__name="simple_cnn", model__shallow=False),
      tmp_path / "run",
    )
  code = report.main([str(tmp_path / "run"), f"--output={tmp_path / 'out'}"])
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
  summary = json.loads((tmp_path / "run" / "summary.json").read_text())
  # The file of answers that the run ended with is that of its summary.
  (found,) = numbers["runs"].values()
  for name in ("accuracy", "auroc", "loss", "brier"):
    assert found["intervals"][name]["value"] == pytest.approx(
      summary[f"test/{name}"], rel=1e-12
    )
  rate = baselines["majority class"]["accuracy"]
  assert rate == summary["test/majority_rate"]
  assert not (tmp_path / "run" / "report").exists()


def test_a_run_can_choose_by_the_test_and_then_has_none(tmp_path, capsys):
  with jax.numpy_dtype_promotion("standard"):
    toy_transfer.run(
      toy_transfer.load(
        model__name="simple_cnn", model__shallow=False, eval__part="test"
      ),
      tmp_path / "run",
    )
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
  assert "its test metrics are not shown" in text


def test_a_study_needs_no_network_for_its_numbers(tmp_path, capsys):
  toy.write_study(tmp_path)
  assert report.main([str(tmp_path), "--numbers"]) == 0
  out, _ = capsys.readouterr()
  assert "not run: never beats a\n" in out
  assert (tmp_path / "report" / "report.html").is_file()


def test_what_cannot_be_opened_is_said_and_left_out(tmp_path, capsys):
  toy.write_study(tmp_path)  # whose runs have no checkpoints
  assert report.main([str(tmp_path)]) == 0
  out, _ = capsys.readouterr()
  assert out.count("Not opened: ") == 2
  assert (tmp_path / "report" / "report.html").is_file()


def test_mistakes_are_one_line(tmp_path, capsys):
  refuse(capsys, "has neither results.json nor summary.json", tmp_path / "no")
  refuse(capsys, "got both or neither")
  refuse(capsys, "got both or neither", tmp_path, "--reproduction=x.md")
  folder = toy.write(tmp_path / "run")
  (folder / "predictions" / "val.npz").write_bytes(b"PK")
  refuse(capsys, "val.npz cannot be read", folder)
  assert not (folder / "report").exists()


def test_a_file_of_a_study_means_its_folder(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  refuse(capsys, "got 'runs/idc'", "configs/studies/idc.py")
  toy.write_study(tmp_path / "runs" / "idc")
  assert report.main(["configs/studies/idc.py", "--numbers"]) == 0
  assert (tmp_path / "runs" / "idc" / "report" / "report.md").is_file()


def test_the_reproduction_needs_the_project(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  refuse(capsys, "docs/results is not here", "--reproduction=x.md")
