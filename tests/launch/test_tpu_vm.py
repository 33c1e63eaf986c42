"""What the script decides, against a stand-in for gcloud."""

import signal
import subprocess
import time

import pytest

from mn_jax.errors import InputError
from mn_jax.launch import tpu_vm
from mn_jax.launch.job import Job
from tests.launch import shells

# Machines are there once they were created. `ends` has what the workers leave
# behind, a line per attempt; the word LOST takes the machines away.
GCLOUD = r"""
echo "$*" >> "$HERE/calls"
case "$*" in
  *queued-resources\ describe*)
    [[ -e $HERE/machines ]] && echo ACTIVE ;;
  *queued-resources\ create*) touch "$HERE/machines" ;;
  *queued-resources\ delete*) rm -f "$HERE/machines" ;;
  *tpu-vm\ describe*) cat "$HERE/node" 2> /dev/null || echo READY ;;
  *tpu-vm\ ssh*flock*true*) touch "$HERE/stopped" ;;
  *tpu-vm\ ssh*agent-worker-number*)
    echo PREEMPTED > "$HERE/node.next"
    if [[ -e $HERE/long ]]; then
      while [[ ! -e $HERE/stopped ]]; do /bin/sleep 0.05; done
    fi ;;
  *tpu-vm\ ssh*sort*)
    line=$(head -n 1 "$HERE/ends")
    sed -i 1d "$HERE/ends"
    if [[ $line == LOST ]]; then
      mv "$HERE/node.next" "$HERE/node"
      exit 1
    fi
    rm -f "$HERE/node"
    tr ' ' '\n' <<< "$line" ;;
esac
"""


def job(**fields):
  options = {
    "config": "configs/idc_v1.py",
    "workdir": "/mnt/runs/x",
    "accelerator": "v5litepod-16",
    "zone": "us-west4-a",
    "mount": "/mnt/runs",
    "code": "/mnt/runs/mn_jax",
    "restarts": 2,
    **fields,
  }
  return Job(**options)


@pytest.fixture
def machine(tmp_path):
  programs = tmp_path / "bin"
  programs.mkdir()
  shells.program(programs / "gcloud", GCLOUD)
  shells.program(programs / "sleep", "rm -f $HERE/node; exec /bin/sleep 0.01")

  def run(*ends):
    (tmp_path / "ends").write_text("\n".join([*ends, ""]))
    return shells.run(
      tpu_vm.plan(job()).text, path=programs, cwd=tmp_path, HERE=str(tmp_path)
    )

  return run


def calls(folder, word):
  lines = (folder / "calls").read_text().splitlines()
  return sum(word in line for line in lines)


@pytest.mark.parametrize(
  ("ends", "code", "attempts"),
  [
    (["0"], 0, 1),
    (["1 134", "0"], 0, 2),
    # Stopped from outside, any number of times; then done.
    (["143", "143", "143", "143", "0"], 0, 5),
    (["2"], 2, 1),
    # One worker had wrong input, and the others noticed that it was gone.
    (["1 2"], 2, 1),
    (["130"], 130, 1),
    (["1", "1", "1"], 1, 3),
    (["1", "143", "1", "1"], 1, 4),
  ],
)
def test_ends_of_attempts_decide(tmp_path, machine, ends, code, attempts):
  done = machine(*ends)
  assert done.returncode == code, done.stdout + done.stderr
  assert calls(tmp_path, "agent-worker-number") == attempts
  assert calls(tmp_path, "queued-resources create x") == 1
  # Nothing is left that would be paid for.
  assert not (tmp_path / "machines").exists()


def test_lost_machines_are_replaced_and_not_counted_as_failures(
  tmp_path, machine
):
  done = machine("LOST", "LOST", "LOST", "LOST", "0")
  assert done.returncode == 0, done.stdout + done.stderr
  assert "failures so far: 0" in done.stdout
  assert calls(tmp_path, "agent-worker-number") == 5


def test_a_script_that_is_started_again_uses_existing_machines(
  tmp_path, machine
):
  (tmp_path / "machines").touch()
  assert machine("0").returncode == 0
  assert calls(tmp_path, "queued-resources create") == 0


def test_interrupt_lets_the_run_save_and_deletes_the_machines(tmp_path):
  programs = tmp_path / "bin"
  programs.mkdir()
  shells.program(programs / "gcloud", GCLOUD)
  (tmp_path / "long").touch()
  child = subprocess.Popen(
    ["bash", "-c", tpu_vm.plan(job()).text],
    env={"HERE": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"},
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 60
  while not (tmp_path / "node.next").exists() and time.monotonic() < deadline:
    # The script waits 30 s between looks at what it has created.
    (tmp_path / "machines").touch()
    time.sleep(0.05)
  child.send_signal(signal.SIGTERM)
  assert child.wait(timeout=60) == 130
  assert (tmp_path / "stopped").exists()
  assert not (tmp_path / "machines").exists()


@pytest.mark.parametrize(
  ("accelerator", "version"),
  [
    ("v6e-8", "v2-alpha-tpuv6e"),
    ("v5p-32", "v2-alpha-tpuv5"),
    ("v5litepod-16", "v2-alpha-tpuv5-lite"),
    ("v4-8", "tpu-ubuntu2204-base"),
  ],
)
def test_software_follows_from_the_type(accelerator, version):
  text = tpu_vm.plan(job(accelerator=accelerator)).text
  assert f"--accelerator-type={accelerator}" in text
  assert f"--runtime-version={version}" in text


def test_unknown_types_need_a_version():
  with pytest.raises(
    InputError, match=r"--accelerator: got 'v9-8'; valid: v6e"
  ):
    tpu_vm.plan(job(accelerator="v9-8"))
  text = tpu_vm.plan(job(accelerator="v9-8", runtime="v9-image")).text
  assert "--runtime-version=v9-image" in text


def test_spot_machines_only_if_requested():
  assert "--spot" not in tpu_vm.plan(job()).text
  assert "--spot" in tpu_vm.plan(job(spot=True)).text
