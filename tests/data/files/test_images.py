"""Tests of which files are images, and what becomes of the others."""

import errno
import json

import pytest
from PIL import Image

from mn_jax.data import decode
from mn_jax.data.files import images
from mn_jax.errors import InputError, RunError
from tests.data import hostile_images as hostile
from tests.data import toy_cache as toy

_PNG = toy.png(hostile.RGB)


def _fail(*_):
  raise OSError(errno.EIO, "Input/output error")


def test_other_files_are_images_by_their_content():
  content = {
    **{
      f"{kind}.x": hostile.save(Image.fromarray(hostile.RGB), kind)
      for kind in decode.FORMATS
      if kind != "TIFF"
    },
    "photo": hostile.save(hostile.RGB, "JPEG"),
    "scan": hostile.save(hostile.RGB, "TIFF"),
    "known.JFIF": b"",
    "a.GIF": b"",
  }
  others = {
    "raw.nef": hostile.save(hostile.RGB, "TIFF"),
    "saved.txt": _PNG,
    "a.png~": _PNG,
    "a.png.bak": _PNG,
    "table.x": b"BMI,age\n22,30\n",
    "b.ico": hostile.save(hostile.RGB, "ICO"),
    "empty": b"",
    "number.1": b"1",
    "long.abcdefghijk": b"1",
    "gone.x": b"missing",  # when it is read
  }
  found = images.find(toy.Memory({**content, **others}))
  assert {*found.images} == {*content}
  assert dict(found.passed_over) == {
    **{"raw.nef": ".nef files", "saved.txt": ".txt files"},
    **{"a.png~": "other files", "a.png.bak": ".bak files"},
    **{"table.x": ".x files", "b.ico": ".ico files", "gone.x": ".x files"},
    **{"empty": "other files", "number.1": "other files"},
    "long.abcdefghijk": "other files",
  }
  assert found.notes == (
    "files without the suffix of an image that are read as the images that "
    f"they are: {len(content) - 2}, the first 'AVIF.x'",
    "GIF files, of which the first frame is read: 1",
  )
  for name in found.images[:-2]:
    assert decode.decode(content[name]).shape == hostile.RGB.shape
  broken = toy.Memory({"a": _PNG})
  broken.read = _fail
  with pytest.raises(RunError, match=r"'a' cannot be read .*Input/output"):
    images.find(broken)
  found = images.find(toy.Memory(content), [".x"])
  assert len(found.images) == len(content) - 4


def test_what_systems_and_runs_leave_behind_is_no_image():
  config = json.dumps({"result_fields": {}}).encode()
  hidden = (
    *("a/.b.png", ".a/b.png", "a/.ipynb_checkpoints/b.png", "__MACOSX/b.png"),
    *("@eaDir/b.png", "a/$RECYCLE.BIN/b.png", "a/._b.png"),
  )
  of_a_run = (
    *("runs/r/config.json", "runs/r/split.json", "runs/r/figures/b.png"),
    *("r2/config.json", "r2/metrics.jsonl", "r2/b.png"),
  )
  others = ("x/config.json", "x/split.json")  # of another program
  files = dict.fromkeys((*hidden, *of_a_run, *others, "x/b.png", "b.png"), _PNG)
  files |= {name: config for name in files if name.startswith("r")}
  files["x/config.json"] = b"{}"
  found = images.find(toy.Memory(files))
  assert found.images == ["x/b.png", "b.png"]
  assert dict(found.passed_over) == {
    **dict.fromkeys(hidden, images.HIDDEN),
    **dict.fromkeys(of_a_run, images.OF_A_RUN),
    **dict.fromkeys(others, ".json files"),
  }
  files |= {"config.json": config, "metrics.jsonl": b""}
  with pytest.raises(InputError, match="is the workdir of a run"):
    images.find(toy.Memory(files))


def test_a_summary_has_the_most_frequent_first():
  kinds = [".txt files", "hidden files", ".txt files"]
  assert images.summary(kinds) == ".txt files (2), hidden files (1)"
  assert images.summary([]) == "nothing"
  counted = images.count([("b", "x"), ("a", "y"), ("b", "x")])
  assert counted == (("a", "y", 1), ("b", "x", 2))
