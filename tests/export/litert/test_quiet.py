"""LiteRT says nothing when a file is opened, and errors are still seen."""

import os
import subprocess
import sys

import pytest

from mn_jax.export.litert import quiet

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


# The line comes once per process, with the first file that it opens.
EXPORT = """
from mn_jax.export import files
from mn_jax.export.options import Options
from tests.export import toy_networks as toy

calibration = files.Calibration(toy.images(4), "training")
options = Options(batch=1, precision={precision!r})
made = files.make(toy.trained(), "litert", options, calibration=calibration)
made.open().run(toy.images(1))
"""


@pytest.mark.parametrize(
  "precision",
  ["float32", pytest.param("int8_full", marks=pytest.mark.extended)],
)
def test_opening_a_file_says_nothing(precision):
  pytest.importorskip("ai_edge_litert")
  pytest.importorskip("litert_converter")
  done = subprocess.run(
    [sys.executable, "-c", EXPORT.format(precision=precision)],
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert SAID.decode().strip() not in done.stderr
