"""Tests of the search for leaks between the parts of a split."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from mn_jax.tools import leakcheck


@pytest.fixture
def run(capsys):
  """Runs the program; returns its exit code and what it printed."""

  def run(*arguments: str) -> tuple[int, str, str]:
    code = leakcheck.main(["--config=idc_v1", *arguments])
    return code, *capsys.readouterr()

  return run


@pytest.fixture(scope="module")
def patches(tmp_path_factory) -> pathlib.Path:
  """Ten patients with six patches each."""
  folder = tmp_path_factory.mktemp("patches")
  rng = np.random.default_rng(0)
  for case in range(1, 11):
    for x in range(6):
      small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8))
      image = small.resize((50, 50), Image.Resampling.BICUBIC)
      image.save(folder / f"{case}_idx5_x{x}_y0_class{(case + x) % 2}.png")
  (folder / "notes.txt").touch()
  return folder


def _copies(patches: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """Adds a patch of patient 1, as it is and darker, to every other patient."""
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


def test_a_split_without_leaks(patches, run):
  code, out, err = run(f"data.path={patches}", "--json")
  assert code == 0, err
  report = json.loads(out)
  assert not report["leaking"]
  assert [pair["parts"] for pair in report["found"]] == [
    ["train", "val"],
    ["train", "test"],
    ["val", "test"],
  ]
  assert len(report["split_sha256"]) == 64


def test_patients_on_both_sides(patches, run):
  code, out, _ = run(f"data.path={patches}", "data.split=random")
  assert code == 1
  assert "patients in both" in out
  assert "Note: left out: files without the name of a patch (1)" in out
  assert "train and test, groups: " in out
  assert out.rstrip().endswith("Leaks were found.")
  lines = [line for line in out.splitlines() if not line.startswith("Note: ")]
  assert max(map(len, lines)) <= 80


def test_copies_across_patients(patches, tmp_path, run):
  folder = _copies(patches, tmp_path)
  code, out, err = run(f"data.path={folder}", "--json")
  assert code == 1, err
  for pair in json.loads(out)["found"]:
    assert not pair["groups"]
    for kind in ("exact", "near"):
      assert pair[kind]
      for names in pair[kind]:
        which = {name.split("_")[2] for name in names}
        # x8 is the patch x3 of patient 1, x9 the same but darker.
        same = which in ({"x8"}, {"x9"}, {"x3", "x8"})
        assert same == (kind == "exact"), names
        assert which <= {"x3", "x8", "x9"}


def test_patches_too_blank_to_compare_are_said(patches, tmp_path, run):
  for path in patches.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  for case in range(1, 11):
    blank = Image.new("RGB", (50, 50), (240, 230, 230 + case))
    blank.save(tmp_path / f"{case}_idx5_x9_y0_class0.png")
  code, out, err = run(f"data.path={tmp_path}")
  assert code == 0, err
  assert "Note: 10 of 70 images have next to no contrast" in out
  code, out, err = run(f"data.path={tmp_path}", "--json")
  assert code == 0, err
  assert json.loads(out)["blank"] == 10


def test_the_test_may_look_like_another_data_set(patches, tmp_path, run):
  folder = tmp_path / "patches"
  folder.mkdir()
  for path in patches.iterdir():
    if path.suffix != ".png":
      continue
    # Positive patches are darker.
    image = np.asarray(Image.open(path))
    darker = path.stem.endswith("1")
    Image.fromarray(image // 2 if darker else image).save(folder / path.name)
  arguments = (f"data.path={folder}", "data.split=random", "--appearance")
  _, out, err = run(*arguments, "--json")
  looks = {x["what"]: x for x in json.loads(out)["appearance"]}
  assert list(looks) == [
    "no_idc: train, test",
    "idc: train, test",
    "train: no_idc, idc",
    "test: no_idc, idc",
  ], err
  for part in ("train", "test"):
    assert looks[f"{part}: no_idc, idc"]["single"]["brightness"] < 0.1
  parts = looks["no_idc: train, test"]
  assert 0.1 < parts["single"]["brightness"] < 0.9
  assert parts["together"] is None  # of fewer than ten patients
  _, out, _ = run(*arguments)
  assert "0.5: they tell nothing" in out
  assert "brightness 0.0" in out
  lines = [line for line in out.splitlines() if not line.startswith("Note: ")]
  assert max(map(len, lines)) <= 80
  _, out, _ = run(*arguments[:2])
  assert "they tell nothing" not in out


def test_what_cannot_be_used_is_one_line(run):
  for arguments, message in (
    (["data.path=nowhere"], "data.path: got 'nowhere'"),
    (["extra"], "got 'extra'"),
    (["--min-correlation=2"], "--min-correlation: got 2; valid: -1 to 1"),
  ):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_groups_that_names_suggest_are_told(tmp_path, capsys):
  rng = np.random.default_rng(0)
  for animal in range(12):
    folder = tmp_path / "data" / ("cat", "dog")[animal % 2]
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(6):
      image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
      image.save(folder / f"animal{animal}_{k}.png")
  arguments = (
    "--config=image_folder_v2",
    f"data.path={tmp_path / 'data'}",
    f"data.cache_dir={tmp_path / 'cache'}",
    "data.image_size=8",
    "augment.crop_padding=0",
  )
  assert leakcheck.main([*arguments, "--json"]) == 0
  report = json.loads(capsys.readouterr().out)
  (suspected,) = report["suspected_groups"]
  assert (suspected["groups"], suspected["images"]) == (12, 72)
  assert len(suspected["in_several_parts"]) > 9
  assert report["split"] == "stratified"
  leakcheck.main([*arguments])
  out = capsys.readouterr().out
  pattern = suspected["pattern"]
  assert "Nothing is known of which images belong together." in out
  assert f"│ {pattern} " in out
  # The pattern as it is shown makes the split by group.
  leakcheck.main([*arguments, f"data.group_pattern={pattern}", "--json"])
  report = json.loads(capsys.readouterr().out)
  assert report["split"] == "grouped"
  assert report["suspected_groups"] == []
  assert not any(pair["groups"] for pair in report["found"])
