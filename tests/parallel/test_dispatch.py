"""Programs on a CPU one after the other, where steps are long."""

import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from mn_jax.parallel import dispatch

_SETTING = "jax_cpu_enable_async_dispatch"
# Ends where a run decides, and says whether devices are open by then.
_PROGRAM = """
import sys
from jax._src import xla_bridge
from mn_jax import main
from mn_jax.parallel import dispatch

def bound_memory(pixels):
  print(pixels, xla_bridge.backends_are_initialized(), flush=True)
  sys.exit(3)

dispatch.bound_memory = bound_memory
main.main(sys.argv[1:])
"""


@pytest.fixture
def updates(monkeypatch):
  """Settings of JAX that are changed, which keep their values."""
  changed = []
  monkeypatch.setattr(jax.config, "update", lambda *args: changed.append(args))
  return changed


@pytest.mark.parametrize("batch", [16, 17, 64])
def test_long_steps_are_waited_for(updates, batch):
  dispatch.bound_memory(batch * 224**2)
  assert updates == [(_SETTING, False)]


@pytest.mark.parametrize(("batch", "size"), [(32, 50), (15, 224), (0, 0)])
def test_short_steps_keep_what_the_user_has(updates, batch, size):
  dispatch.bound_memory(batch * size**2)
  assert not updates


def test_jax_has_the_setting_and_reads_it_when_it_opens_its_devices():
  """In a process of its own: here devices are open."""
  done = subprocess.run(
    [
      sys.executable,
      "-c",
      "import jax\n"
      "from mn_jax.parallel import dispatch\n"
      "dispatch.bound_memory(2**30)\n"
      "from jax._src import xla_bridge\n"
      "print(xla_bridge._CPU_ENABLE_ASYNC_DISPATCH.value)\n"
      "print(xla_bridge.backends_are_initialized())\n",
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.split() == ["False", "False"]


def decided(*arguments) -> str:
  """The last line of the program above: 'PIXELS WHETHER_DEVICES_ARE_OPEN'."""
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, *arguments],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 3, done.stderr
  return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
  ("override", "pixels"),
  [("data.image_size=16", 8 * 16**2), ("model.train_resolution=40", 8 * 40**2)],
)
def test_a_run_decides_before_it_opens_its_devices(tmp_path, override, pixels):
  assert f"{pixels} False" == decided(
    "--config=configs/idc_v1.py:test",
    "train.batch_size=8",
    override,
    f"--workdir={tmp_path}",
  )


def test_a_run_on_own_images_does_too(tmp_path):
  for name in ("cats", "dogs"):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for i in range(12):
      image = np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)
      PIL.Image.fromarray(image).save(tmp_path / "photos" / name / f"{i}.png")
  pixels, devices_are_open = decided(
    f"--data={tmp_path / 'photos'}", f"--workdir={tmp_path / 'run'}"
  ).split()
  assert int(pixels) > 0
  assert devices_are_open == "False"
