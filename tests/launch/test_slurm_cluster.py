"""A training of two tasks on a real SLURM, signalled in its middle."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from mn_jax.observe.writers import read_lines

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 500
CLUSTER = ROOT / "launch" / "slurm" / "one_node_cluster.sh"
RUN = (
  "--config=configs/idc_v1.py:test",
  "--config.data.image_size=16",
  "--config.model.shallow=True",
  "--config.model.separable=False",
  "--config.model.width=0.125",
  "--config.train.epochs=0",
  # Enough that the end is not reached while SLURM passes the signal on, which
  # takes it seconds, and the processes agree on a stop.
  f"--config.train.steps={STEPS}",
  # The stop saves, and so does the end.
  "--config.checkpoint.every_epochs=100",
  "--config.observe.log_every_steps=1",
)


@pytest.fixture(scope="module")
def cluster():
  """The environment of a cluster of one node."""
  for program in ("munged", "slurmctld", "slurmd", "sbatch"):
    if not shutil.which(program):
      pytest.skip(f"{program} is not installed (slurm-wlm, munge)")
  if os.geteuid() != 0:
    pytest.skip("slurmd starts jobs only as root")
  # Of pytest's own folders others than their owner see nothing, which munged
  # refuses.
  folder = pathlib.Path(tempfile.gettempdir(), f"mn_jax_slurm_{os.getpid()}")
  subprocess.run([CLUSTER, "start", folder, "2"], check=True)
  try:
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
  finally:
    subprocess.run([CLUSTER, "stop", folder], check=True)
  assert not folder.exists()


def submit(env, workdir, *more):
  """Starts a run as a user does; its job's number."""
  done = subprocess.run(
    [
      *(sys.executable, "-m", "mn_jax.tools.launch", "slurm", *RUN),
      *(f"--workdir={workdir}", "--tasks-per-node=2", "--cpus-per-task=1"),
      *("--cpu-devices=1", "--hours=1", "--grace=60", "--restarts=0"),
      *(f"--python={sys.executable}", f"--cache-dir={env['MN_JAX_CACHE']}"),
      *more,
    ],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    check=True,
  )
  return re.search(r"Submitted batch job (\d+)", done.stdout)[1]


def control(env, *words):
  return subprocess.run(
    words, env=env, capture_output=True, text=True, check=True
  ).stdout


def logs(workdir):
  paths = sorted((workdir / "launch").glob("*.log"))
  return "".join(f"== {path.name}\n{path.read_text()}" for path in paths)


def wait(env, job, workdir, done, seconds=1200):
  """Waits until `done` says so, or the job has ended otherwise."""
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    description = control(env, "scontrol", "show", "job", "--oneliner", job)
    state = re.search(r"JobState=(\w+)", description)[1]
    if done(state):
      return description
    assert state in ("PENDING", "RUNNING", "COMPLETING"), logs(workdir)
    time.sleep(0.1)
  raise TimeoutError(logs(workdir))


def finished(env, job, workdir):
  return wait(env, job, workdir, lambda state: state == "COMPLETED")


def test_signalled_requeued_and_continued_it_ends_as_undisturbed(
  cluster, tmp_path
):
  undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
  finished(cluster, submit(cluster, undisturbed), undisturbed)

  job = submit(cluster, run)
  wait(cluster, job, run, lambda _: len(read_lines(run / "metrics.jsonl")) > 5)
  # What SLURM itself does so long before the time limit as was asked for.
  control(cluster, "scancel", "--batch", "--signal=USR1", job)
  description = finished(cluster, job, run)

  assert "Restarts=1 " in description
  script = (run / "launch" / "run.log").read_text()
  assert script.count("attempt") == 2
  assert "ended with 143\n" in script
  assert script.rstrip().endswith("ended with 0")
  first = (run / "launch" / "rank0.log").read_text()
  assert 0 < int(re.search(rf"from step (\d+) of {STEPS}", first)[1]) < STEPS
  assert "2 x cpu" in first
  assert (run / "launch" / "rank1.log").exists()
  a, b = (
    json.loads((path / "summary.json").read_text())
    for path in (undisturbed, run)
  )
  assert a["state_sha256"] == b["state_sha256"]
  assert a["test/loss"] == b["test/loss"]


def test_wrong_input_is_not_requeued(cluster, tmp_path):
  """A mistake that only the machines can notice: a folder that is not there."""
  run = tmp_path / "run"
  job = submit(cluster, run, "--config.data.path=/no/such")
  description = wait(cluster, job, run, lambda state: state == "FAILED")
  assert "Restarts=0 " in description
  assert "ExitCode=2:0" in description
  assert "data.path: got '/no/such'" in logs(run)
