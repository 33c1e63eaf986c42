"""Figures of what is inside a network, as arrays."""

import matplotlib.text
import numpy as np
import pytest

from mn_jax.observe import canvas, inspection_figures

WIDTH = 945  # 80 mm at 300 pixels per inch


@pytest.fixture
def texts(monkeypatch):
  """Where the texts of figures lie, once drawn: (text, box in pixels)."""
  found = []
  render = canvas.pixels

  def record(figure, **options):
    pixels = render(figure, **options)
    renderer = figure.canvas.get_renderer()
    for text in figure.findobj(matplotlib.text.Text):
      if text.get_visible() and text.get_text().strip():
        found.append((text.get_text(), text.get_window_extent(renderer)))
    found.append(("", figure.bbox))
    return pixels

  monkeypatch.setattr(canvas, "pixels", record)
  return found


def check(image, texts):
  """The figure has its width; no text leaves it or covers another."""
  assert image.dtype == np.uint8
  assert abs(image.shape[1] - WIDTH) <= 2
  *boxes, (_, whole) = texts
  assert boxes
  for i, (text, box) in enumerate(boxes):
    assert box.x0 >= -1, text
    assert box.x1 <= whole.x1 + 1, text
    assert box.y0 >= -1, text
    assert box.y1 <= whole.y1 + 1, text
    for other, against in boxes[i + 1 :]:
      wide = min(box.x1, against.x1) - max(box.x0, against.x0)
      high = min(box.y1, against.y1) - max(box.y0, against.y0)
      assert min(wide, high) <= 1, (text, other)


def test_heat_maps_with_long_titles(texts):
  rng = np.random.default_rng(0)
  names = ("gradient", "smooth_grad", "integrated_gradients", "grad_cam")
  image = inspection_figures.heat_maps(
    rng.integers(0, 256, (3, 20, 20, 3), np.uint8),
    {name: rng.normal(size=(3, 10, 10)) for name in names},
    ["true HerbaceousVegetation, predicted HerbaceousVegetation 0.99"] * 3,
  )
  check(image, texts)


def test_heat_maps_are_strong_where_the_map_is():
  image = np.full((1, 16, 16, 3), 128, np.uint8)
  maps = np.zeros((1, 16, 16), np.float32)
  maps[0, :8, 8:] = 1
  found = inspection_figures.heat_maps(image, {"gradient": maps}, ["title"])
  # The map fills the right half, but for titles above.
  panel = found[-470:, -470:].astype(int)
  yellow = panel[..., 0] - panel[..., 2]
  assert yellow[40:190, 280:430].min() > 100
  assert yellow[280:430].max() < 20
  assert yellow[:, 40:190].max() < 20
  # A map of nothing shows the image.
  found = inspection_figures.heat_maps(image, {"gradient": 0 * maps}, ["title"])
  grey = np.ptp(found[-400:, -400:].astype(int), axis=2)
  assert grey.max() == 0


def test_heat_is_transparent_where_the_map_is_weak():
  values = np.zeros((20, 20), np.float32)
  values[:2], values[2:4] = 3, -3
  red, _, blue, alpha = np.moveaxis(
    inspection_figures.heat(values, signed=True).astype(int), -1, 0
  )
  assert (alpha[:4] == 229).all()  # 0.9 of 255
  assert (alpha[4:] == 0).all()
  assert (red - blue)[:2].min() > 50  # orange
  assert (blue - red)[2:4].min() > 20  # purple
  unsigned = inspection_figures.heat(values.clip(0), signed=False)
  assert (unsigned[2:, :, 3] == 0).all()
  assert (unsigned[0, 0] == (240, 249, 33, 229)).all()  # the end of plasma


def test_shares_run_from_blue_to_yellow():
  found = inspection_figures.shares(np.array([[0, 1, np.nan]])).astype(int)
  assert found[0, :, 3].tolist() == [255, 255, 0]
  assert found[0, 0, 2] - found[0, 0, 0] > 50
  assert found[0, 1, 0] - found[0, 1, 2] > 100


@pytest.mark.parametrize("classes", [2, 10])
def test_embedding(classes, texts):
  rng = np.random.default_rng(0)
  names = tuple(f"a class of a long name {i}" for i in range(classes))
  image = inspection_figures.embedding(
    {
      "PCA, 70% and 8% of variance": rng.normal(size=(300, 2)),
      "t-SNE": rng.normal(size=(300, 2)),
    },
    rng.integers(0, classes, 300),
    names,
    "idc_v1_sample, step 12345, pooled of 2,000 test images: 5-NN accuracy "
    "0.816 (neighbours of another patient), majority rate 0.714, silhouette "
    "0.024",
  )
  check(image, texts)


@pytest.mark.parametrize("shape", [(40, 30), (30, 90), (3, 2), (1, 1)])
def test_slide(shape, texts):
  rng = np.random.default_rng(0)
  image = inspection_figures.slide(
    rng.uniform(0, 255, (4 * shape[0], 4 * shape[1], 3)),
    rng.integers(0, 2, shape).astype(float),
    rng.random(shape),
    name="idc",
    title="patient 14082, in train and val and test: 1,234 patches",
  )
  check(image, texts)


def test_slide_has_x_to_the_right_and_y_down():
  patches = np.full((40, 40, 3), np.nan)
  patches[:10, 30:] = (255, 0, 0)
  nothing = np.full((4, 4), np.nan)
  found = inspection_figures.slide(
    patches, nothing, nothing, name="idc", title="title"
  ).astype(int)
  rows, columns = np.nonzero(found[..., 0] - found[..., 1] > 150)
  # The first of three panels: its upper right corner, and nowhere else.
  assert 180 < columns.min() < columns.max() < 300
  other = np.nonzero((found < 245).any(axis=2))[0]
  assert rows.mean() < (other.min() + other.max()) / 2
