"""Tests of the symmetries of test-time augmentation."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.augment import views

IMAGE = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(1, 5, 5, 3)


def _content(view, images=IMAGE):
  return np.asarray(view(images)).tobytes()


def test_the_dihedral_group_is_all_eight_symmetries():
  """As NumPy turns and mirrors, in its own words."""
  expected = {
    np.rot90(image, turns, (1, 2)).tobytes()
    for image in (IMAGE, np.flip(IMAGE, 2))
    for turns in range(4)
  }
  assert len(expected) == 8
  assert {_content(view) for view in views.KINDS["dihedral"]} == expected


@pytest.mark.parametrize("kind", views.KINDS)
def test_each_kind_is_a_group(kind):
  chosen = views.KINDS[kind]
  contents = {_content(view) for view in chosen}
  assert len(contents) == len(chosen)
  assert _content(chosen[0]) == IMAGE.tobytes()
  for one, other in itertools.product(chosen, chosen):
    assert _content(one, other(IMAGE)) in contents


def test_views_keep_dtype_and_take_arrays_of_jax():
  for view in views.KINDS["dihedral"]:
    for images in (jnp.asarray(IMAGE), IMAGE[0], IMAGE.astype(np.float32)):
      seen = view(images)
      assert (seen.dtype, seen.shape) == (images.dtype, images.shape)
      np.testing.assert_array_equal(
        np.asarray(seen).reshape(IMAGE.shape), view(IMAGE)
      )


def test_only_square_images_have_quarter_turns():
  oblong = IMAGE[:, :3]
  assert views.View(2, mirrored=True)(oblong).shape == oblong.shape
  with pytest.raises(ValueError, match="images: got 3x5 pixels; valid"):
    views.View(1)(oblong)


@pytest.mark.parametrize(
  ("flip", "turns", "kind"),
  [
    ("none", False, ""),
    ("horizontal", False, "horizontal"),
    ("both", False, "flips"),
    ("none", True, "turns"),
    ("horizontal", True, "dihedral"),
    ("both", True, "dihedral"),
  ],
)
def test_views_are_those_that_training_makes(flip, turns, kind):
  """The products of the changes that `augment` draws from."""
  assert views.trained(flip, turns) == kind
  mirrored = flip != "none"
  made = {
    _content(views.View((half + quarter) % 4, mirror))
    for half in ((0, 2) if flip == "both" else (0,))
    for quarter in (range(4) if turns else (0,))
    for mirror in {False, mirrored}
  }
  expected = views.KINDS[kind] if kind else (views.PLAIN,)
  assert made == {_content(view) for view in expected}
