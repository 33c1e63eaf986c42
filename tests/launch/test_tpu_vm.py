"""What the script decides, against a stand-in for gcloud."""

import signal

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
def programs(tmp_path):
  """Stand-ins for gcloud, and for sleep, during which machines come back."""
  folder = tmp_path / "bin"
  folder.mkdir()
  shells.program(folder / "gcloud", GCLOUD)
  shells.program(folder / "sleep", "rm -f $HERE/node; exec /bin/sleep 0.01")
  return folder


@pytest.fixture
def machine(tmp_path, programs):
  def run(*ends):
    (tmp_path / "calls").unlink(missing_ok=True)
    (tmp_path / "ends").write_text("\n".join([*ends, ""]))
    done = shells.run(
      tpu_vm.plan(job()).text, path=programs, cwd=tmp_path, HERE=str(tmp_path)
    )
    # Nothing is left that would be paid for.
    assert not (tmp_path / "machines").exists()
    return done

  return run


def calls(folder, word):
  lines = (folder / "calls").read_text().splitlines()
  return sum(word in line for line in lines)


def test_ends_of_attempts_decide(tmp_path, machine):
  for ends, code, attempts in (
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
    # Lost machines are replaced, and are no failures.
    (["LOST", "LOST", "LOST", "LOST", "0"], 0, 5),
  ):
    done = machine(*ends)
    assert done.returncode == code, done.stdout + done.stderr
    assert calls(tmp_path, "agent-worker-number") == attempts
    if "LOST" in ends:
      assert "failures so far: 0" in done.stdout
    else:
      assert calls(tmp_path, "queued-resources create x") == 1


def test_a_script_that_is_started_again_uses_existing_machines(
  tmp_path, machine
):
  (tmp_path / "machines").touch()
  assert machine("0").returncode == 0
  assert calls(tmp_path, "queued-resources create") == 0


def test_interrupt_lets_the_run_save_and_deletes_the_machines(
  tmp_path, programs
):
  # The script waits 30 s between looks at what it has created.
  for name in ("machines", "long"):
    (tmp_path / name).touch()
  code = shells.signalled(
    tpu_vm.plan(job()).text,
    signal.SIGTERM,
    when=tmp_path / "node.next",
    path=programs,
    HERE=str(tmp_path),
  )
  assert code == 130
  assert (tmp_path / "stopped").exists()
  assert not (tmp_path / "machines").exists()


def test_software_follows_from_the_type():
  for accelerator, version in (
    ("v6e-8", "v2-alpha-tpuv6e"),
    ("v5p-32", "v2-alpha-tpuv5"),
    ("v5litepod-16", "v2-alpha-tpuv5-lite"),
    ("v4-8", "tpu-ubuntu2204-base"),
  ):
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
