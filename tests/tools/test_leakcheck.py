"""Tests of the search for leaks, as its users run it."""

import json
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests import programs


def _run(*arguments: str) -> subprocess.CompletedProcess:
  return programs.run(
    "mn_jax.tools.leakcheck", "--config=configs/idc_v1.py", *arguments
  )


@pytest.fixture(scope="module")
def patches(tmp_path_factory) -> pathlib.Path:
  """Ten patients with six patches each; two of them share two patches."""
  folder = tmp_path_factory.mktemp("patches")
  rng = np.random.default_rng(0)
  for case in range(1, 11):
    for x in range(6):
      small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8))
      image = small.resize((50, 50), Image.Resampling.BICUBIC)
      image.save(folder / f"{case}_idx5_x{x}_y0_class{(case + x) % 2}.png")
  return folder


def _copies(patches: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """The same with every patch of patient 1 under every other one's name."""
  for path in patches.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  for case in range(2, 11):
    image = Image.open(patches / "1_idx5_x3_y0_class0.png")
    image.save(tmp_path / f"{case}_idx5_x8_y0_class0.png")
    near = Image.fromarray(
      np.clip(np.asarray(image) * 0.9, 0, 255).astype("u1")
    )
    near.save(tmp_path / f"{case}_idx5_x9_y0_class0.png")
  return tmp_path


def test_a_split_without_leaks(patches):
  done = _run(f"--config.data.path={patches}", "--json")
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout)
  assert not report["leaking"]
  assert [pair["parts"] for pair in report["found"]] == [
    ["train", "val"],
    ["train", "test"],
    ["val", "test"],
  ]
  assert len(report["split_sha256"]) == 64


def test_patients_on_both_sides(patches):
  done = _run(f"--config.data.path={patches}", "--config.data.split=random")
  assert done.returncode == 1
  assert "patients in both" in done.stdout
  assert "train and test, groups: " in done.stdout
  assert done.stdout.rstrip().endswith("Leaks were found.")
  assert max(map(len, done.stdout.splitlines())) <= 80


def test_copies_across_patients(patches, tmp_path):
  folder = _copies(patches, tmp_path)
  done = _run(f"--config.data.path={folder}", "--json")
  assert done.returncode == 1, done.stderr
  for pair in json.loads(done.stdout)["found"]:
    assert not pair["groups"]
    for kind in ("exact", "near"):
      assert pair[kind]
      for names in pair[kind]:
        which = {name.split("_")[2] for name in names}
        # x8 is the patch x3 of patient 1, x9 the same but darker.
        same = which in ({"x8"}, {"x9"}, {"x3", "x8"})
        assert same == (kind == "exact"), names
        assert which <= {"x3", "x8", "x9"}


def test_what_cannot_be_used_is_one_line():
  for arguments, message in (
    (["--config.data.path=nowhere"], "data.path: got 'nowhere'"),
    (["extra"], "got 'extra'"),
    (["--min-correlation=2"], "--min-correlation: got 2; valid: -1 to 1"),
  ):
    done = _run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
