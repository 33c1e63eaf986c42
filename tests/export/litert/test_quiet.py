"""LiteRT says nothing when a file is opened, and errors are still seen."""

import os

import pytest

from mn_jax.export import files
from mn_jax.export.litert import quiet
from mn_jax.export.options import Options
from tests.export import toy_networks as toy

SAID = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def test_other_lines_are_kept(capfd):
  def fail():
    with quiet.quiet(), quiet.quiet():
      os.write(2, b"before\n" + SAID + b"without an end")
      raise KeyError

  with pytest.raises(KeyError):
    fail()
  os.write(2, b"; after\n")
  assert capfd.readouterr().err == "before\nwithout an end; after\n"


def test_opening_a_file_says_nothing(capfd):
  pytest.importorskip("ai_edge_litert")
  pytest.importorskip("litert_converter")
  made = files.make(toy.trained(), "litert", Options(batch=1))
  made.open().run(toy.images(1))
  assert capfd.readouterr().err == ""
