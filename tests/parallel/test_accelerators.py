"""The table of accelerators: sources, sizes of slices, names of devices."""

import math

import pytest

from mn_jax.parallel import accelerators
from mn_jax.parallel.accelerators import ACCELERATORS, Torus

TORI = [name for name, a in ACCELERATORS.items() if isinstance(a.layout, Torus)]


@pytest.mark.parametrize("name", ACCELERATORS)
def test_every_figure_has_a_source(name):
  figures = ACCELERATORS[name].figures()
  assert {"flops_per_sec", "memory_bytes", "link_bytes_per_sec"} <= set(figures)
  assert "hop_seconds" in figures
  for figure in figures.values():
    assert figure.value > 0
    assert figure.source


@pytest.mark.parametrize("name", ACCELERATORS)
def test_figures_have_their_units(name):
  chip = ACCELERATORS[name]
  # FLOP/s, bytes and seconds: not TFLOP/s, GB, Gbit/s or microseconds.
  assert 1e14 < chip.flops_per_sec.value < 1e16
  assert 1e10 < chip.memory_bytes.value < 1e12
  assert 5e11 < chip.memory_bytes_per_sec.value < 1e13
  assert (
    chip.network_bytes_per_sec.value
    < chip.link_bytes_per_sec.value
    < chip.memory_bytes_per_sec.value
  )
  for key, figure in chip.figures().items():
    if key.endswith("_seconds"):
      assert 1e-7 < figure.value < 1e-4


@pytest.mark.parametrize("name", TORI)
def test_slices_go_from_few_chips_to_256(name):
  torus = ACCELERATORS[name].layout
  sizes = [math.prod(shape) for shape in torus.shapes]
  assert sizes == sorted(set(sizes))
  assert sizes[-1] == 256
  assert set(sizes) >= {4, 8, 16, 32, 64, 128}
  for size, shape in zip(sizes, torus.shapes, strict=True):
    assert torus.shape(size) == shape
  assert math.prod(torus.shape(1)) == 1
  assert torus.shape(2) is None
  assert torus.shape(48) is None


@pytest.mark.parametrize(
  ("name", "shape", "rings"),
  [
    ("v5e", (4, 4), (False, False)),
    ("v5e", (8, 16), (False, True)),
    ("v6e", (16, 16), (True, True)),
    ("v5p", (2, 4, 4), (False, False, False)),
    ("v5p", (4, 4, 4), (True, True, True)),
    ("v4", (4, 8, 8), (True, True, True)),
  ],
)
def test_axes_that_are_rings(name, shape, rings):
  assert ACCELERATORS[name].layout.rings(shape) == rings


@pytest.mark.parametrize(
  ("kind", "name"),
  [
    ("TPU v5 lite", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v6 lite", "v6e"),
    ("TPU v4", "v4"),
    ("NVIDIA H200", "H200"),
    ("NVIDIA A100-SXM4-80GB", "A100"),
  ],
)
def test_devices_by_their_names(kind, name):
  assert accelerators.of_device_kind(kind).name == name


def test_unknown_devices_are_not_guessed():
  assert accelerators.of_device_kind("cpu") is None
  assert accelerators.of_device_kind("NVIDIA B200") is None
