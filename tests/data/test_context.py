"""Tests of patches in their surroundings."""

import dataclasses

import numpy as np
import pytest

from mn_jax.data import context
from mn_jax.errors import InputError
from tests.data import toy_idc

GROUPS = np.array(["a", "a", "a", "a", "b"])
# A corner of three patches, one apart from them, and one of another slide.
PLACES = np.array([[1, 1], [51, 1], [1, 51], [301, 1], [51, 51]])


def test_neighbours_are_those_of_the_slide():
  found = context.neighbours(GROUPS, PLACES, step=50, reach=1)
  none = -1
  assert found[0].tolist() == [
    [none, none, none],
    [none, 0, 1],
    [none, 2, none],  # that of b is at the free place, on another slide
  ]
  assert found[1].tolist()[1] == [0, 1, none]
  assert found[1].tolist()[2] == [2, none, none]
  for row in (3, 4):
    alone = np.full((3, 3), none)
    alone[1, 1] = row
    assert np.array_equal(found[row], alone)
  wide = context.neighbours(GROUPS, PLACES, step=50, reach=2)
  assert np.array_equal(wide[:, 1:-1, 1:-1], found)


def test_squares_have_patches_in_their_places():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 250, (5, 4, 4, 3), np.uint8)
  around = context.neighbours(GROUPS, PLACES, step=50, reach=1)
  made = context.squares(images, around)
  assert made.shape == (5, 12, 12, 3)
  assert np.array_equal(made[:, 4:8, 4:8], images)
  assert np.array_equal(made[0, 4:8, 8:], images[1])  # right is a larger x
  assert np.array_equal(made[0, 8:, 4:8], images[2])  # below is a larger y
  assert (made[0, :4] == 255).all()
  assert (made[3, :, :4] == 255).all()


def load(folder, **changes):
  fields = {"data.context": 1, "data.image_size": 150}
  return toy_idc.load(folder, **fields | changes)


@pytest.fixture
def folder(tmp_path):
  toy_idc.write(tmp_path, patches_per_patient=9)
  return tmp_path


def test_a_data_set_is_loaded_with_surroundings(folder, tmp_path):
  plain = {"data.context": 0, "data.image_size": 50}
  before, made = load(folder, **plain).cache, load(folder).cache
  assert made.images.shape == (len(before), 150, 150, 3)
  assert np.array_equal(made.images[:, 50:100, 50:100], before.images)
  assert made.names.tolist() == before.names.tolist()
  around = context.neighbours(made.groups, made.positions, step=50, reach=1)
  row = int((around >= 0).sum(axis=(1, 2)).argmax())
  right = around[row, 1, 2]
  if right >= 0:
    assert np.array_equal(made.images[row, 50:100, 100:], before.images[right])
  share = ((around >= 0).sum() - len(made)) / (8 * len(made))
  assert any(f"{share:.1%} of the patches around" in x for x in made.notes)
  # The same pixels at other places have other surroundings.
  places = before.positions + np.array([0, 50])
  moved = dataclasses.replace(before, positions=places)
  moved = context.surround(moved, step=50, reach=1, folder=tmp_path)
  assert moved.sha256 != made.sha256
  both = load(folder, **{"data.stain_normalisation": "macenko"}).cache
  assert len({x.sha256 for x in (before, made, both)}) == 3


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data.split": "random"}, "data.split=random"),
    ({"data.image_size": 50}, "a multiple of 3"),
    ({"data.group_pattern": "(.)"}, "data.group_pattern"),
    ({"data.name": "eurosat"}, "no known places"),
  ],
)
def test_what_would_leak_or_has_no_places_is_refused(folder, changes, message):
  with pytest.raises(InputError, match=message):
    load(folder, **changes)
