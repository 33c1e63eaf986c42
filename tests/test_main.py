"""The program as a user starts it, in processes of its own."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import filelock
import pytest

from mn_jax import main
from mn_jax.observe.writers import read_lines
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
# Small enough to be quick, long enough to be interrupted.
RUN = (
  "--config=configs/idc_v1.py:test",
  "--config.data.image_size=16",
  "--config.model.name=simple_cnn",
  "--config.model.width=0.5",
  "--config.train.epochs=4",
  "--config.checkpoint.every_epochs=0.5",
)


def command(workdir, *arguments):
  return [
    sys.executable,
    "-m",
    "mn_jax.main",
    *RUN,
    f"--workdir={workdir}",
    *arguments,
  ]


def run(workdir, *arguments):
  return programs.run("mn_jax.main", *command(workdir, *arguments)[3:])


def start(workdir, *arguments):
  return subprocess.Popen(
    command(workdir, *arguments),
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(line, **options):
  return subprocess.run(
    line,
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
    **options,
  )


def two_processes(workdir, *arguments):
  return [
    sys.executable,
    "-m",
    "mn_jax.tools.launch",
    "local",
    "--processes=2",
    "--restarts=0",
    *RUN,
    *arguments,
    f"--workdir={workdir}",
  ]


def stop(child, number, *, ready):
  """Sends a signal once a condition holds; returns (exit code, stderr)."""
  deadline = time.monotonic() + 200
  while not ready() and child.poll() is None and time.monotonic() < deadline:
    time.sleep(0.005)
  try:
    child.send_signal(number)
    _, errors = child.communicate(timeout=120)
  finally:
    child.kill()
  return child.returncode, errors


def interrupted(workdir, number, *, after_step):
  """Starts a run and sends a signal once a step is logged."""

  def ready():
    lines = read_lines(workdir / "metrics.jsonl")
    return lines and lines[-1]["step"] >= after_step

  return stop(start(workdir), number, ready=ready)


def logged(workdir):
  """The lines of metrics.jsonl without times and the speed."""
  return [
    {k: v for k, v in line.items() if not k.startswith(("speed/", "time"))}
    for line in read_lines(workdir / "metrics.jsonl")
  ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """(workdir, the finished process, files that named unwanted imports)."""
  root = tmp_path_factory.mktemp("main")
  # Stand-ins that leave a trace when something imports them.
  for name in ("tensorflow", "torch"):
    (root / "fakes" / name).mkdir(parents=True)
    (root / "fakes" / name / "__init__.py").write_text(
      f"import pathlib\npathlib.Path({str(root / name)!r}).touch()\n"
      "raise ImportError('not here')\n"
    )
  done = finish(
    command(root / "run"), env={**os.environ, "PYTHONPATH": str(root / "fakes")}
  )
  assert done.returncode == 0, done.stderr
  return root / "run", done, [p for p in root.iterdir() if p.is_file()]


def test_run_leaves_what_it_promises(whole):
  """And imports neither TensorFlow nor PyTorch."""
  workdir, done, imported = whole
  assert imported == []
  summary = json.loads((workdir / "summary.json").read_text())
  for key in (
    "steps",
    "epochs",
    "seed",
    "split_sha256",
    "params",
    "images_per_sec",
    "wall_seconds",
    "state_sha256",
    "val/balanced_accuracy",
    "test/auroc",
    "test/majority_rate",
    "train/loss",
  ):
    assert key in summary
  assert summary["steps"] == 163
  assert "balanced accuracy" in done.stdout
  assert "summary.json" in done.stdout
  predict = f"--workdir={shlex.quote(str(workdir))} IMAGE ..."
  assert done.stdout.splitlines()[-1].endswith(predict)
  assert done.stderr == ""
  assert max(map(len, done.stdout.splitlines())) < 130
  assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
  again = run(workdir)
  assert again.returncode == 0
  assert "complete" in again.stdout


def test_killed_run_continues_to_the_same_end(whole, tmp_path):
  workdir = tmp_path / "run"
  # After a validation, and about when step 60 is saved.
  code, _ = interrupted(workdir, signal.SIGKILL, after_step=60)
  assert code == -signal.SIGKILL
  # What a kill in the middle of a line leaves behind.
  with (workdir / "metrics.jsonl").open("a") as file:
    file.write('{"step": 1')
  done = run(workdir)
  assert done.returncode == 0, done.stderr
  same_end(workdir, whole[0])


def test_asked_to_stop_it_saves(whole, tmp_path):
  workdir = tmp_path / "run"
  code, errors = interrupted(workdir, signal.SIGTERM, after_step=30)
  assert (code, errors) == (143, "")
  last = logged(workdir)[-1]["step"]
  saved = max(int(p.name) for p in (workdir / "checkpoints").iterdir())
  # Saved where it stopped, not at the last regular save.
  assert saved >= last
  done = run(workdir)
  assert f"from step {saved} of 163" in done.stdout
  same_end(workdir, whole[0])


def test_asked_to_stop_before_the_first_step(tmp_path):
  ready = (tmp_path / ".lock").exists
  said = "mn_jax: stopped; the same command resumes\n"
  assert stop(start(tmp_path), signal.SIGINT, ready=ready) == (130, said)


def test_seeds_together_stop_and_end_as_each_does_alone(whole, tmp_path):
  """On one device, where every seed has a thread of its own."""
  argument = "--config.train.replicas=2"
  metrics = tmp_path / "seed1" / "metrics.jsonl"
  stopped = stop(
    start(tmp_path, argument),
    signal.SIGTERM,
    ready=lambda: len(read_lines(metrics)) > 1,
  )
  assert stopped == (143, "")
  assert not (tmp_path / "seed0" / "summary.json").exists()
  done = run(tmp_path, argument)
  assert done.returncode == 0, done.stderr
  assert f"Resuming {tmp_path / 'seed0'} from step " in done.stdout
  assert "best checkpoints of 2 seeds" in done.stdout
  same_end(tmp_path / "seed0", whole[0])
  assert run(tmp_path, argument).stdout.startswith(f"{tmp_path} is complete")


@pytest.mark.extended
def test_workdir_in_use_is_refused_by_all_processes(tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  with filelock.FileLock(workdir / ".lock"):
    done = finish(two_processes(workdir))
  assert done.returncode == 2
  assert "in which another process is training" in done.stderr
  assert not (workdir / "config.json").exists()


def same_end(workdir, other):
  mine, theirs = (
    json.loads((path / "summary.json").read_text()) for path in (workdir, other)
  )
  assert mine["state_sha256"] == theirs["state_sha256"]
  assert mine["test/loss"] == theirs["test/loss"]
  assert logged(workdir) == logged(other)
  assert not (workdir / "checkpoints_damaged").exists()


@pytest.mark.extended
def test_two_processes_stop_together_and_end_as_one(tmp_path):
  """SIGTERM in the middle, the same command again, and one process alone."""
  arguments = (
    "--config.train.epochs=0",
    # Enough of them that processes which need a second to agree on a stop do
    # not reach the end before it.
    "--config.train.steps=180",
    # The stop saves, and so does the end.
    "--config.checkpoint.every_epochs=100",
    "--config.observe.log_every_steps=1",
    "--config.optim.learning_rate=1e-6",
  )
  alone, two = tmp_path / "alone", tmp_path / "two"
  assert run(alone, *arguments).returncode == 0
  line = two_processes(two, *arguments)
  child = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
  code, _ = stop(
    child, signal.SIGTERM, ready=lambda: read_lines(two / "metrics.jsonl")
  )
  assert code == 143
  assert not (two / "summary.json").exists()
  done = finish(line)
  assert done.returncode == 0, done.stderr
  assert "Resuming" in done.stdout
  assert "2 x cpu" in done.stdout
  assert done.stdout.count("Results:") == 1
  a, b = (
    json.loads((path / "summary.json").read_text()) for path in (alone, two)
  )
  assert a["split_sha256"] == b["split_sha256"]
  assert [x["step"] for x in logged(alone)] == [x["step"] for x in logged(two)]
  # The same up to the order of sums, which every step amplifies a little.
  for key in ("train/loss", "val/loss", "test/loss"):
    assert b[key] == pytest.approx(a[key], rel=1e-3)


def test_wrong_arguments_are_one_line(tmp_path, capsys, monkeypatch):
  """All that is known before JAX is imported."""
  monkeypatch.chdir(ROOT)
  line = [*RUN, f"--workdir={tmp_path / 'run'}"]
  for argument, message in (
    (
      "--config.model.nme=x",
      "model.nme: unknown field (did you mean 'model.n",
    ),
    ("model.nme=x", "model.nme: unknown field (did you mean 'model.n"),
    ("optim.learning_rate=big", "got 'big'; valid: float"),
    ("model.width=9", "model.width: got 9.0; valid: 0.05 to 4"),
    ("train.steps=3", "train: got steps=3, epochs=4; valid:"),
    ("--config=configs/none.py", "config: got 'configs/none.py'"),
    (
      "--config=configs/idc_v1.py:big",
      "got 'big'; valid: best, sample, source",
    ),
    ("surplus", "got 'surplus'"),
    ("--config.train.epochs", "got no value; valid: --config.train.epochs="),
    ("--bogus=1", "got '--bogus=1'; valid: see --help"),
    ("--num-processes=2", "--coordinator: got nothing"),
    ("--process_id=1", "got 1 of 1; valid: 0 to"),
    ("--distributed=off --coordinator=a:1", "--distributed: got 'off'"),
    ("--distributed=on", "--distributed: invalid choice: 'on' (choose from"),
  ):
    assert main.main([*line, *argument.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("mn_jax: ")
    assert message in err
  assert not (tmp_path / "run").exists()


def test_what_is_wrong_with_data_and_folders_is_one_line(whole, tmp_path):
  (tmp_path / "file").touch()
  for workdir, argument, message in (
    (tmp_path / "run", "data.name=idc", "python -m mn_jax.tools.prepare idc"),
    (tmp_path / "run", "data.path=/no/such", "data.path: got '/no/such'"),
    (tmp_path / "file" / "run", "seed=0", "--workdir: got"),
    (whole[0], "seed=7", "seed: 0 there, 7 now"),
  ):
    done = run(workdir, argument)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_import_of_the_package_is_light():
  # Not 'jax' in m: an editable install has a finder with a name of its own.
  jax = "m.startswith(('jax', 'mn_jax'))"
  line = f"import sys, mn_jax; print([m for m in sys.modules if {jax}])"
  done = finish([sys.executable, "-c", line])
  assert done.stdout.strip() == "['mn_jax']"
