"""Several processes on loopback: same samples, common ends, no hanging."""

import json
import re
import shutil
import signal
import sys

import jax
import numpy as np
import pytest

from mn_jax.parallel import cluster
from mn_jax.run import reference
from tests import process_ids, several
from tests import toy_transfer as toy

WHOLE = [process_ids.batches().ids(k) for k in range(process_ids.NUM_BATCHES)]
# So small a rate that the loss tells which samples a step had.
SAME_LOSS = "--config.optim.learning_rate=1e-6"


def arriving(
  tmp_path, processes, devices, start=0, prefetch=4, *, environments=None
):
  """What `process_ids` prints with so many processes of so many devices."""
  port = 0 if environments else cluster.free_port()
  lines = [
    [
      sys.executable,
      "-m",
      "tests.process_ids",
      *map(str, (i, processes, port, devices, start, prefetch)),
    ]
    for i in range(processes)
  ]
  with several.start(tmp_path / "ids", lines, environments) as started:
    assert started.codes() == [0] * processes, started.errors()
    found = json.loads(started.out(0).splitlines()[-1])
  assert found["processes"] == processes
  assert found["devices"] == processes * devices
  return np.array(found["ids"])


@pytest.mark.parametrize(
  ("processes", "devices", "start", "prefetch"),
  [
    pytest.param(2, 2, 0, 4, marks=pytest.mark.extended),
    *(
      pytest.param(*topology, marks=pytest.mark.slow)
      for topology in (
        (1, 1, 0, 4),
        (1, 8, 3, 0),
        (2, 1, 0, 1),
        (2, 4, 5, 2),
        (4, 1, 7, 3),
        (4, 2, 11, 4),
      )
    ),
  ],
)
def test_ids_do_not_depend_on_the_topology(
  tmp_path, processes, devices, start, prefetch
):
  """Also from the middle on, as after a resume with another topology."""
  found = arriving(tmp_path, processes, devices, start, prefetch)
  np.testing.assert_array_equal(found, WHOLE[start:])


@pytest.mark.slow
def test_processes_of_a_scheduler_find_each_other(tmp_path):
  slurm = {"SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "127.0.0.1"}
  ompi = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911"}
  world = "OMPI_COMM_WORLD"
  for name, common, size, rank, local in (
    ("slurm", slurm, "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("ompi", ompi, f"{world}_SIZE", f"{world}_RANK", f"{world}_LOCAL_RANK"),
  ):
    port = str(cluster.free_port())
    environments = [
      {
        **common,
        **{size: "2", rank: str(i), local: str(i)},
        "JAX_COORDINATOR_PORT": port,
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
      }
      for i in range(2)
    ]
    found = arriving(tmp_path / name, 2, 1, environments=environments)
    np.testing.assert_array_equal(found, WHOLE)


@pytest.mark.devices(2)
def test_two_processes_train_as_two_devices_do(tmp_path):
  """The same samples and losses, but for the order in which XLA adds up."""
  fields = {
    **toy.TINY,
    "model.name": "simple_cnn",  # compiles fast
    "model.shallow": False,
    "model.separable": True,
    "observe.log_every_steps": 1,
  }
  flags = [f"--config.{name}={value}" for name, value in fields.items()]
  processes, devices = tmp_path / "processes", tmp_path / "devices"
  several.finish(processes, 2, "--cpu-devices=1", *flags)
  config = toy.load(**{k.replace(".", "__"): v for k, v in fields.items()})
  with jax.numpy_dtype_promotion("standard"):
    toy.run(config, devices)
  losses = several.losses(processes)
  assert len(set(losses)) == 6
  assert losses == pytest.approx(several.losses(devices), rel=1e-5)
  assert several.summary(processes)["test/loss"] == pytest.approx(
    several.summary(devices)["test/loss"], rel=1e-5
  )
  references = [reference.read(folder) for folder in (processes, devices)]
  assert references[0].names.tolist() == references[1].names.tolist()
  for name in ("distances", "energies"):
    np.testing.assert_allclose(
      *(getattr(x, name) for x in references), rtol=1e-3, atol=1e-3
    )


FOUR = (
  "--config.train.steps=40",
  "--config.checkpoint.every_epochs=0",
  "--config.checkpoint.every_steps=10",
  SAME_LOSS,
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  """The workdir of a run of four processes."""
  workdir = tmp_path_factory.mktemp("undisturbed") / "run"
  several.finish(workdir, 4, *FOUR)
  return workdir


@pytest.mark.slow
def test_a_killed_process_ends_all_and_the_run_goes_on(tmp_path, undisturbed):
  workdir = tmp_path / "run"
  with several.train(workdir, 4, *FOUR) as run:
    run.wait_for_step(workdir, 15)
    run.send(2, signal.SIGKILL)
    assert run.codes(0, 1, 3) == [1, 1, 1], run.errors()
    for i in (0, 1, 3):
      assert re.fullmatch(
        r"mn_jax: process 2 \(.+\) is gone .*: no sign of it for 1\d s; the "
        r"last: .*, at step \d+\n",
        run.err(i),
      )
  assert not (workdir / "summary.json").exists()
  elsewhere = tmp_path / "elsewhere"
  shutil.copytree(workdir, elsewhere)
  # As many devices: the same bits.
  printed = several.finish(workdir, 4, *FOUR)
  assert "Resuming" in printed
  mine, theirs = several.summary(workdir), several.summary(undisturbed)
  assert mine["state_sha256"] == theirs["state_sha256"]
  assert several.losses(workdir) == several.losses(undisturbed)
  # Fewer: the same samples, added up in another order.
  assert "Resuming" in several.finish(elsewhere, 1, *FOUR)
  assert several.losses(elsewhere) == pytest.approx(
    several.losses(undisturbed), rel=1e-3
  )


TWO = ("--config.train.steps=400", SAME_LOSS)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_does_not_run_ends_all(tmp_path, victim):
  workdir, other = tmp_path / "run", 1 - victim
  with several.train(workdir, 2, *TWO, "--stall-timeout=60") as run:
    run.wait_for_step(workdir, 5)
    run.send(victim, signal.SIGSTOP)
    assert run.codes(other) == [1], run.errors()
    assert re.fullmatch(
      rf"mn_jax: process {victim} \(.+\) is gone or does not run: no sign of "
      r"it for 6\d s; the last: .*, at step \d+\n",
      run.err(other),
    )
    # It does not train on by itself.
    run.send(victim, signal.SIGCONT)
    assert run.codes(victim) != [0]


@pytest.mark.slow
def test_the_end_of_process_0_ends_all_at_once(tmp_path):
  workdir = tmp_path / "run"
  with several.train(workdir, 2, *TWO) as run:
    run.wait_for_step(workdir, 5)
    run.send(0, signal.SIGKILL)
    assert run.children[1].wait(timeout=60) != 0
    # JAX and the watchdog lose the same connection; the faster one says it.
    said = r"mn_jax: process 0 \(.+\) is gone|the leader \(usually .* task 0\)"
    assert re.search(said, run.err(1))


# The program, where process 1 does something else instead of reading batch 12.
INSTEAD = """
import runpy, sys, time
from mn_jax.data import loader
real = loader.TrainBatches.iterate
def iterate(self, **options):
  for number, batch in enumerate(real(self, **options)):
    if number == 12 and "--process-id=1" in sys.argv:
      {}
    yield batch
loader.TrainBatches.iterate = iterate
sys.argv[0] = "mn_jax.main"
runpy.run_module("mn_jax.main", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_process_that_hangs_ends_all(tmp_path):
  program = ("-c", INSTEAD.format("time.sleep(3600)"))
  options = (*TWO, "--stall-timeout=60")
  with several.train(tmp_path / "run", 2, *options, program=program) as run:
    assert run.codes() == [1, 1], run.errors()
    for i in range(2):
      assert re.fullmatch(
        r"mn_jax: process 1 \(.+\) hangs: waiting for a batch, at step 12; no "
        r"process has made progress for \d+ s\n",
        run.err(i),
      )


@pytest.mark.extended
def test_a_process_that_fails_ends_all(tmp_path):
  program = ("-c", INSTEAD.format("raise OSError('no space left')"))
  with several.train(tmp_path / "run", 2, *TWO, program=program) as run:
    assert run.codes() == [1, 1], run.errors()
    assert "Traceback" in run.err(1)
    line = r"mn_jax: process 1 \(.+\): OSError: no space left\n"
    assert re.fullmatch(line, run.err(0))


@pytest.mark.extended
def test_sigterm_of_one_process_saves_and_ends_all(tmp_path):
  arguments = (
    "--config.train.steps=120",
    "--config.checkpoint.every_epochs=100",
    SAME_LOSS,
  )
  whole, workdir = tmp_path / "whole", tmp_path / "run"
  several.finish(whole, 2, *arguments)
  with several.train(workdir, 2, *arguments) as run:
    run.wait_for_step(workdir, 5)
    run.send(1, signal.SIGTERM)
    assert run.codes() == [143, 143], run.errors()
  assert not (workdir / "summary.json").exists()
  assert "Resuming" in several.finish(workdir, 2, *arguments)
  mine, theirs = several.summary(workdir), several.summary(whole)
  assert mine["state_sha256"] == theirs["state_sha256"]
  assert several.losses(workdir) == several.losses(whole)


@pytest.mark.extended
def test_wrong_input_of_one_process_ends_all_with_its_line(tmp_path):
  workdir = tmp_path / "run"
  (tmp_path / "file").touch()
  only = {1: [f"--config.data.cache_dir={tmp_path / 'file' / 'cache'}"]}
  with several.train(workdir, 2, *TWO, only=only) as run:
    assert run.codes() == [2, 2], run.errors()
    assert run.err(1).startswith("mn_jax: data.cache_dir: ")
    assert re.fullmatch(
      r"mn_jax: process 1 \(.+\): " + re.escape(run.err(1)[8:]), run.err(0)
    )
    # Gloo prints a line of its own.
    printed = run.out(1).splitlines()
    assert [x for x in printed if x and not x.startswith("[Gloo]")] == []


def test_processes_that_do_not_come_are_not_waited_for(tmp_path):
  """Process 0 waits for the other, and process 1 of another run for its 0."""
  addresses = [f"127.0.0.1:{cluster.free_port()}" for _ in range(2)]
  lines = [
    [
      *(sys.executable, "-m", "mn_jax.main", *several.RUN),
      *("--config.train.steps=4", f"--workdir={tmp_path / 'run'}"),
      *(f"--coordinator={address}", "--num-processes=2"),
      *(f"--process-id={index}", "--start-timeout=3"),
    ]
    for index, address in enumerate(addresses)
  ]
  with several.start(tmp_path / "logs", lines) as run:
    assert run.codes() == [1, 1]
    for index, message in enumerate(
      (
        "process 0 answers at {}, but not all processes came within 3 s",
        "process 0 could not be reached at {} (",
      )
    ):
      errors = run.err(index)
      assert errors.startswith(f"mn_jax: {message.format(addresses[index])}")
      assert errors.count("\n") == 1
  assert not (tmp_path / "run").exists()
