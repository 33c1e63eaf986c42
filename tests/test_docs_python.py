"""The Python of the pages: what docs/python.md shows is run, in its order."""

import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

import mn_jax
from tests.test_docs import TEXT

PAGE = TEXT["docs/python.md"]
# The section of each, whose first block is a whole program.
STORIES = {"Train": "fit", "Load": "load", "Predict": "predict"} | {
  "Evaluate": "evaluate"
}


def blocks(text: str) -> list[str]:
  return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def section(title: str) -> str:
  return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]


@pytest.mark.parametrize("title", STORIES)
def test_five_lines_are_enough(title):
  first = blocks(section(title))[0]
  lines = [line for line in first.splitlines() if line.strip()]
  assert f".{STORIES[title]}(" in first
  assert lines[0] == "import mn_jax"
  assert len(lines) <= 5


def test_the_page_has_every_name_and_method():
  for name in mn_jax.__all__:
    assert f"`mn_jax.{name}" in PAGE, name
  table = re.findall(r"^\| `(\w+)\(", section("Predict"), re.M)
  methods = ["predict", "features", "explain", "prepare", "export"]
  assert table == methods
  for name in methods:
    assert callable(getattr(mn_jax.Model, name))


def _images(folder, count: int, seed: int) -> None:
  draw = np.random.default_rng(seed)
  folder.mkdir(parents=True)
  for number in range(count):
    pixels = draw.integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.extended
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_the_page_runs(tmp_path, monkeypatch):
  for seed, name in enumerate(("cat", "dog", "owl")):
    _images(tmp_path / "photos" / name, 20, seed)
    _images(tmp_path / "new_labelled_photos" / name, 5, seed + 10)
  _images(tmp_path / "new_photos", 3, 20)
  monkeypatch.chdir(tmp_path)
  fit = mn_jax.fit

  def fit_small(data, model="mobilenet_v2", **settings):
    assert model in mn_jax.list_models()
    return fit(data, "simple_cnn", model__width=0.25, **settings)

  monkeypatch.setattr(mn_jax, "fit", fit_small)
  with matplotlib.rc_context({"backend": "agg"}):
    names: dict = {}
    for block in blocks(PAGE):
      if 'load("runs/photos")' in block:
        names.clear()  # a program by itself
      exec(block, names)  # noqa: S102 (of this repository's own page)
  assert (tmp_path / "model.stablehlo.json").exists()
  assert names["probabilities"].shape == (2, 3)
