"""Tests of stain normalisation, on slides whose stains are known."""

import pathlib

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.data import stains
from mn_jax.deploy import trained
from mn_jax.errors import InputError
from mn_jax.run import reopen
from tests.data import toy_idc

# Two laboratories: colours of both stains, and how much of them they use.
PINK = stains.Stains(
  np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]), np.array([1.0, 1.0])
)
BLUE = stains.Stains(
  np.array([[0.75, 0.60, 0.27], [0.25, 0.90, 0.35]]), np.array([1.6, 0.7])
)


def unit(colours):
  return colours / np.linalg.norm(colours, axis=1, keepdims=True)


def tissue(count: int = 30_000) -> np.ndarray:
  """f64[n, 2], amounts of both stains: nuclei, cytoplasm, mixtures, glass."""
  rng = np.random.default_rng(0)
  share = rng.beta(0.3, 0.3, count)
  amount = rng.uniform(0.2, 1.8, count) * (rng.random(count) > 0.2)
  return np.stack([share * amount, (1 - share) * amount], axis=1)


def slide(amounts: np.ndarray, lab: stains.Stains) -> np.ndarray:
  """u8[n, 3], the light that comes through."""
  density = (amounts * lab.amounts) @ unit(lab.colours)
  return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("lab", [PINK, BLUE], ids=["pink", "blue"])
def test_stains_of_a_slide_are_found(lab):
  found = stains.estimate(slide(tissue(), lab))
  cosines = (found.colours * unit(lab.colours)).sum(axis=1)
  assert np.rad2deg(np.arccos(cosines)).max() < 4
  expected = np.percentile(tissue() * lab.amounts, 99, axis=0)
  np.testing.assert_allclose(found.amounts, expected, rtol=0.1)


def test_slides_of_two_laboratories_become_alike():
  seen = [slide(tissue(), lab) for lab in (PINK, BLUE)]
  made = [
    stains.apply(pixels, stains.transform(stains.estimate(pixels)))
    for pixels in seen
  ]

  def gap(pair):
    return np.abs(pair[0].astype(float) - pair[1]).mean()

  assert gap(seen) > 20
  assert gap(made) < 4
  glass = tissue().sum(axis=1) == 0
  assert (made[0][glass] >= 254).all()


def test_a_slide_like_the_target_stays_as_it_is():
  pixels = slide(tissue(), BLUE)
  own = stains.estimate(pixels)
  np.testing.assert_allclose(stains.transform(own, own), np.eye(3), atol=1e-9)
  assert np.array_equal(stains.apply(pixels, np.eye(3)), pixels)


def test_what_has_no_two_stains_is_not_guessed():
  glass = np.full((5000, 3), 250, np.uint8)
  one = np.linspace(0.2, 1.5, 5000)[:, None] * [0.0, 1.0]
  for pixels in (glass, slide(one, PINK), slide(tissue(900), PINK)):
    assert stains.estimate(pixels) is None


def load(folder, **changes):
  return toy_idc.load(
    folder, **{"data.stain_normalisation": "macenko"} | changes
  )


@pytest.fixture
def folder(tmp_path):
  toy_idc.write(tmp_path, patches_per_patient=3)
  return tmp_path


def test_a_data_set_is_normalised_once_and_checked(folder):
  plain = load(folder, **{"data.stain_normalisation": "none"}).cache
  made = load(folder).cache
  assert made.sha256 != plain.sha256
  assert made.names.tolist() == plain.names.tolist()
  rows = np.flatnonzero(plain.groups == plain.groups[0])
  found = stains.estimate(plain.images[rows].reshape(-1, 3))
  expected = stains.apply(plain.images[rows], stains.transform(found))
  assert np.array_equal(made.images[rows], expected)
  assert not np.array_equal(made.images[rows], plain.images[rows])
  assert any("stains are normalised, of 8 groups" in x for x in made.notes)
  (path,) = (folder / "cache" / "derived").glob("*.u8")
  before, pixels = path.stat().st_mtime_ns, np.array(made.images)
  assert np.array_equal(load(folder).cache.images, pixels)
  assert path.stat().st_mtime_ns == before
  content = bytearray(path.read_bytes())
  content[10] ^= 1
  path.write_bytes(content)
  assert np.array_equal(load(folder).cache.images, pixels)


def test_a_folder_that_cannot_be_written_is_named(folder):
  (folder / "cache").mkdir()
  (folder / "cache" / "derived").write_text("")
  with pytest.raises(InputError, match=r"cannot write .*derived"):
    load(folder)


def test_images_without_groups_are_refused(folder):
  changes = {
    "data.name": "image_folder",
    "data.split": "stratified",
    "data.path": min((folder / "idc").iterdir()),
  }
  with pytest.raises(InputError, match="no groups are known"):
    load(folder, **changes)


def test_single_images_are_refused():
  for change in ("stain_normalisation=macenko", "context=1"):
    config = files.load_config("idc_v1", [f"data.{change}"])
    run = reopen.SavedRun(
      pathlib.Path("runs/a"), config, None, None, (), 0, {}, {}
    )
    for read, what in ((trained.from_run, run), (run.read_image, b"")):
      with pytest.raises(InputError, match=f"runs/a.*with data.{change}"):
        read(what)
