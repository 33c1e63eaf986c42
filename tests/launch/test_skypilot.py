import pytest
import yaml

from mn_jax.errors import InputError
from mn_jax.launch import skypilot
from mn_jax.launch.job import Job
from tests.launch import shells


def plan(**fields):
  options = {
    "config": "configs/idc_v1.py",
    "workdir": "/mnt/runs/x",
    "accelerator": "H100:8",
    "storage": "gs://runs",
    "mount": "/mnt/runs",
    "spot": True,
    **fields,
  }
  return skypilot.plan(Job(**options))


def task(**fields):
  return yaml.safe_load(plan(**fields).text)


def test_job_has_the_name_of_the_run_and_usage_is_not_collected():
  launch = plan()
  assert "--name=x" in launch.command
  assert dict(launch.env) == {"SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
  assert task()["resources"]["use_spot"] is True


def test_one_machine_has_a_bucket_and_several_a_volume():
  one = task()
  assert one["file_mounts"]["/mnt/runs"]["source"] == "gs://runs"
  assert "volumes" not in one
  two = task(storage="runs", nodes=2)
  assert two["volumes"] == {"/mnt/runs": "runs"}
  assert "file_mounts" not in two
  with pytest.raises(InputError, match=r"--storage: got 'gs://runs' with 2"):
    plan(nodes=2)


def test_tpu_hosts_find_each_other():
  assert "--distributed=auto" in task(accelerator="tpu-v6e-16:1")["run"]


def test_ends_decide_on_recovery(tmp_path):
  for code, ends in (
    (0, [0, 0]),
    (2, [2, 2]),
    (130, [130]),
    (143, [143] * 4),
    # Two failures are recovered from, not the third.
    (1, [75, 75, 1]),
    (134, [75, 75, 134]),
  ):
    folder = tmp_path / f"{code}"
    folder.mkdir()
    program = shells.program(folder / "trainer", f"echo hello; exit {code}")
    script = task(
      workdir=f"{folder}/x", mount=f"{folder}", python=f"{program}", restarts=2
    )
    codes = [
      shells.run(
        script["run"],
        cwd=folder,
        SKYPILOT_NODE_RANK="0",
        SKYPILOT_TASK_ID="sky-1/x",
      ).returncode
      for _ in ends
    ]
    assert codes == ends
    recovery = script["resources"]["job_recovery"]
    assert set(recovery["recover_on_exit_codes"]) == {75, 143}
    log = (folder / "x" / "launch" / "rank0.log").read_text()
    assert log == "hello\n" * len(ends)
