import contextlib
import os
import warnings

import jax
import pytest
from jax._src import clusters

from mn_jax.errors import InputError
from mn_jax.parallel import cluster

STEP = {
  "SLURM_JOB_ID": "4711",
  "SLURM_STEP_NODELIST": "node[3-6]",
  "SLURM_NTASKS": "4",
  "SLURM_PROCID": "0",
  "SLURM_LOCALID": "0",
}
OMPI = {
  "OMPI_COMM_WORLD_SIZE": "3",
  "OMPI_COMM_WORLD_RANK": "0",
  "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}
ORTE = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.0.0.1:34911"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "pod"}


@pytest.fixture
def environment(monkeypatch):
  """Sets variables in an environment without a scheduler."""
  for name in os.environ:
    if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JOB_", "TPU_")):
      monkeypatch.delenv(name)
  # Outside of the cloud nobody must be asked.
  monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")

  @contextlib.contextmanager
  def with_variables(values):
    with pytest.MonkeyPatch.context() as patch:
      for name, value in values.items():
        patch.setenv(name, value)
      yield

  return with_variables


def test_a_scheduler_is_asked_for_its_processes(environment):
  for values, count in (
    ({}, 1),
    (STEP, 4),
    ({**STEP, "SLURM_STEP_NUM_TASKS": "4"}, 4),
    # A shell of salloc: room for four, a step of one.
    ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, 1),
    ({**STEP, "SLURM_NTASKS": "1"}, 1),
    # A batch script, outside of srun.
    ({k: v for k, v in STEP.items() if "STEP" not in k}, 1),
    ({**ORTE, **OMPI}, 3),
    ({**OMPI, "OMPI_VERSION": "5.0.3", "OMPI_COMM_WORLD_SIZE": "1"}, 1),
    # A pod that is no numbered one of a Job.
    (POD, 1),
  ):
    with environment(values):
      assert cluster._count_scheduled() == count


def test_a_scheduler_that_cannot_be_asked_is_one_line(environment):
  for values, reason in (
    ({**OMPI, "OMPI_VERSION": "5.0.3"}, "mpi4py"),
    ({**POD, "JOB_COMPLETION_INDEX": "0"}, "`kubernetes` package"),
  ):
    with environment(values), pytest.raises(InputError) as caught:
      cluster._count_scheduled()
    text = str(caught.value)
    assert reason in text
    assert text.endswith("--process-id, or --distributed=off")
    assert "\n" not in text


def test_warnings_of_others_are_only_warnings(environment, monkeypatch):
  def is_env_present():
    warnings.warn("of some library", DeprecationWarning, stacklevel=1)
    return True

  monkeypatch.setattr(clusters.SlurmCluster, "is_env_present", is_env_present)
  with (
    environment(STEP),
    pytest.warns(DeprecationWarning, match="some library"),
  ):
    assert cluster._count_scheduled() == 4


def test_a_single_process_or_off_starts_nothing(environment, capfd):
  single = {**STEP, "SLURM_STEP_NUM_TASKS": "1"}
  for distributed, values in (("auto", single), ("off", single), ("off", STEP)):
    with environment(values):
      cluster.connect(distributed, None, 1, 0, timeout=1)
    assert not jax.distributed.is_initialized()
  assert capfd.readouterr() == ("", "")


def test_contradictory_flags_are_refused():
  for flags, message in (
    (("auto", None, 2, 0), "--coordinator: got nothing with --num-processes=2"),
    (("auto", None, 1, 1), "--process-id, --num-processes: got 1 of 1"),
    (("auto", "a:1", 2, -1), "got -1 of 2; valid: 0 to"),
    (("auto", "a:1", 0, 0), "got 0 of 0; valid: 0 to"),
    (("auto", "host", 2, 0), "--coordinator: got 'host'; valid: HOST:PORT"),
    (("auto", "host:http", 2, 0), "--coordinator: got 'host:http'"),
    (("off", "a:1", 2, 0), "--distributed: got 'off' with --coordinator=a:1"),
  ):
    with pytest.raises(InputError) as caught:
      cluster.check_flags(*flags)
    assert message in str(caught.value)
  cluster.check_flags("auto", None, 1, 0)
  cluster.check_flags("off", None, 1, 0)
  cluster.check_flags("auto", "[::1]:1234", 4, 3)


def test_a_free_port_can_be_another_one_than_the_last(monkeypatch):
  # The system may choose a port that was just free once more.
  class Socket(contextlib.nullcontext):
    chosen = 0

    def __enter__(self):
      return self

    def bind(self, address):
      assert address == ("127.0.0.1", 0)
      Socket.chosen += 1
      self.port = 4000 + Socket.chosen

    def getsockname(self):
      return "127.0.0.1", self.port

  monkeypatch.setattr(cluster.socket, "socket", Socket)
  assert cluster.free_port() == 4001
  Socket.chosen = 0
  assert cluster.free_port(other_than=4000) == 4001
  Socket.chosen = 0
  assert cluster.free_port(other_than=4001) == 4002
