"""Whole runs on real images, in bands wide enough for other machines."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from mn_jax.observe import writers

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]


def run(workdir, *arguments):
  line = [sys.executable, "-m", "mn_jax.main", f"--workdir={workdir}"]
  # The tests compile without optimisations, which makes a long run longer.
  env = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
  subprocess.run([*line, *arguments], cwd=ROOT, env=env, check=True)
  return json.loads((workdir / "summary.json").read_text())


@pytest.mark.parametrize("name", ["idc_v1", "idc_v2"])
def test_recipe_on_test_patients(shared_data, tmp_path, name):
  summary = run(
    tmp_path / name,
    f"--config=configs/{name}.py",
    f"--config.data.path={shared_data / 'breast-histopathology-images.zip'}",
  )
  # Seeds 0 to 2 gave 0.833 to 0.855, and an AUROC of 0.911 to 0.924.
  assert summary["test/balanced_accuracy"] > 0.79
  assert summary["test/auroc"] > 0.87
  lines = writers.read_lines(tmp_path / name / "metrics.jsonl")
  first = next(line for line in lines if "val/balanced_accuracy" in line)
  # From the first validation on the network is better than the majority class.
  assert first["val/balanced_accuracy"] > 0.55


@pytest.mark.parametrize("name", ["idc_v1", "idc_v2"])
def test_sample_can_be_learned(tmp_path, name):
  summary = run(tmp_path / name, f"--config=configs/{name}.py:sample")
  assert summary["test/balanced_accuracy"] > 0.62
  assert summary["test/auroc"] > 0.7
