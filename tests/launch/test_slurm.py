"""What the batch script decides, against a stand-in for SLURM."""

import signal

import pytest

from mn_jax.errors import InputError
from mn_jax.launch import slurm
from mn_jax.launch.job import Job
from tests.launch import shells

PROGRAMS = {
  "srun": r"""
while [[ $1 == --* ]]; do shift; done
"$@"
""",
  "trainer": r"""
trap 'exit 143' TERM
echo $$ $PPID > "$HERE/training"
[[ -e $HERE/code ]] && exit "$(< "$HERE/code")"
while :; do sleep 0.02; done
""",
  # Signals tasks, as SLURM does: the shell around the trainer and the trainer.
  "scancel": r"""
echo "scancel $*" >> "$HERE/calls"
kill -TERM $(< "$HERE/training")
""",
  "squeue": 'cat "$HERE/state"',
  "scontrol": 'echo "scontrol $*" >> "$HERE/calls"',
}


def job(folder, **fields):
  return Job(
    config="configs/idc_v1.py",
    workdir=str(folder / "x"),
    code=str(folder),
    python=str(folder / "bin" / "trainer"),
    **fields,
  )


@pytest.fixture
def cluster(tmp_path):
  (tmp_path / "bin").mkdir()
  for name, text in PROGRAMS.items():
    shells.program(tmp_path / "bin" / name, text)
  (tmp_path / "state").write_text("RUNNING\n")
  return tmp_path


VARIABLES = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"}


def attempt(folder, code, **fields):
  (folder / "code").write_text(str(code))
  return shells.run(
    slurm.plan(job(folder, **fields)).text,
    path=folder / "bin",
    cwd=folder,
    HERE=str(folder),
    **VARIABLES,
  )


def calls(folder):
  path = folder / "calls"
  return path.read_text().splitlines() if path.exists() else []


def test_ends_decide_on_another_attempt(cluster):
  requeues = []
  for code, requeued in (
    *((0, False), (1, True), (2, False)),
    *((130, False), (134, True), (143, True)),
  ):
    done = attempt(cluster, code)
    assert done.returncode == code, done.stderr
    requeues += ["scontrol requeue 7"] * requeued
    assert calls(cluster) == requeues
  # What a user cancels stays cancelled.
  (cluster / "state").write_text("COMPLETING\n")
  attempt(cluster, 1)
  assert calls(cluster) == requeues


def test_failures_are_limited_and_stops_are_not(cluster):
  for _ in range(3):
    attempt(cluster, 143, restarts=1)
  assert len(calls(cluster)) == 3
  attempt(cluster, 1, restarts=1)
  assert len(calls(cluster)) == 4
  done = attempt(cluster, 1, restarts=1)
  assert len(calls(cluster)) == 4
  assert "more than 1 failures" in done.stdout


@pytest.mark.parametrize(
  ("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGUSR2, False)]
)
def test_signals_reach_the_trainer_as_sigterm(cluster, number, requeued):
  code = shells.signalled(
    slurm.plan(job(cluster)).text,
    number,
    when=cluster / "training",
    path=cluster / "bin",
    HERE=str(cluster),
    **VARIABLES,
  )
  assert code == 143
  asked = "scancel --signal=TERM 7"
  assert calls(cluster) == [asked] + ["scontrol requeue 7"] * requeued


def test_one_process_per_gpu_or_per_node(tmp_path):
  text = slurm.plan(job(tmp_path, nodes=2, devices_per_node=4)).text
  assert "#SBATCH --ntasks-per-node=4\n#SBATCH --gpus-per-node=4\n" in text
  assert "JAX_LOCAL_DEVICE_IDS" not in text
  assert "--distributed=auto" in text
  one = job(tmp_path, nodes=2, devices_per_node=4, tasks_per_node=1)
  text = slurm.plan(one).text
  assert "#SBATCH --ntasks-per-node=1\n#SBATCH --gpus-per-node=4\n" in text
  # JAX takes one device per task under SLURM, unless it is told of more.
  assert "export JAX_LOCAL_DEVICE_IDS=0,1,2,3\n" in text
  with pytest.raises(InputError, match="--tasks-per-node: got 3 with 4 GPUs"):
    slurm.plan(job(tmp_path, devices_per_node=4, tasks_per_node=3))


def test_signal_comes_ahead_of_the_limit(tmp_path):
  text = slurm.plan(job(tmp_path, hours=1.5, grace=120)).text
  assert "#SBATCH --time=90\n" in text
  assert "#SBATCH --signal=B:USR1@120\n" in text
  assert "#SBATCH --requeue\n" in text
  assert "#SBATCH --open-mode=append\n" in text


def test_paths_are_those_of_this_machine(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", "/home/me")
  launch = slurm.plan(Job(config="c.py", workdir="~/runs/x", cache_dir="cache"))
  assert launch.folder == "/home/me/runs/x/launch"
  assert f"\ncd -- {tmp_path} " in launch.text
  assert f"export MN_JAX_CACHE={tmp_path}/cache\n" in launch.text
  assert launch.inside
