"""The table of accelerators: sources, sizes of slices, names of devices."""

import math

from mn_jax.parallel import accelerators
from mn_jax.parallel.accelerators import ACCELERATORS, Torus


def test_every_figure_has_a_source_and_the_right_unit():
  """FLOP/s, bytes and seconds: not TFLOP/s, GB, Gbit/s or microseconds."""
  for chip in ACCELERATORS.values():
    figures = chip.figures()
    assert {"flops_per_sec", "memory_bytes", "hop_seconds"} <= set(figures)
    assert all(figure.source for figure in figures.values())
    assert 1e14 < chip.flops_per_sec.value < 1e16
    assert 1e10 < chip.memory_bytes.value < 1e12
    assert 5e11 < chip.memory_bytes_per_sec.value < 1e13
    assert (
      0
      < chip.network_bytes_per_sec.value
      < chip.link_bytes_per_sec.value
      < chip.memory_bytes_per_sec.value
    )
    for name, figure in figures.items():
      if name.endswith("_seconds"):
        assert 1e-7 < figure.value < 1e-4


def test_slices_go_from_few_chips_to_256():
  tori = [
    a.layout for a in ACCELERATORS.values() if isinstance(a.layout, Torus)
  ]
  assert len(tori) == 4
  for torus in tori:
    sizes = [math.prod(shape) for shape in torus.shapes]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 256
    assert set(sizes) >= {4, 8, 16, 32, 64, 128}
    assert [torus.shape(size) for size in sizes] == list(torus.shapes)
    assert math.prod(torus.shape(1)) == 1
    assert torus.shape(2) is None
    assert torus.shape(48) is None


def test_axes_that_are_rings():
  for name, shape, rings in (
    ("v5e", (4, 4), (False, False)),
    ("v5e", (8, 16), (False, True)),
    ("v6e", (16, 16), (True, True)),
    ("v5p", (2, 4, 4), (False, False, False)),
    ("v5p", (4, 4, 4), (True, True, True)),
    ("v4", (4, 8, 8), (True, True, True)),
  ):
    assert ACCELERATORS[name].layout.rings(shape) == rings


def test_devices_by_their_names():
  for kind, name in (
    ("TPU v5 lite", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v5p", "v5p"),
    ("TPU v6 lite", "v6e"),
    ("TPU v4", "v4"),
    ("NVIDIA H200", "H200"),
    ("NVIDIA A100-SXM4-80GB", "A100"),
    ("NVIDIA B200", "B200"),
  ):
    assert accelerators.of_device_kind(kind).name == name
  for kind in ("cpu", "NVIDIA GB200", "TPU v99"):
    assert accelerators.of_device_kind(kind) is None
