import re

import pytest
import yaml

from mn_jax.errors import InputError
from mn_jax.launch import gke
from mn_jax.launch.job import Job


def plan(**fields):
  options = {
    "config": "configs/idc_v1.py",
    "workdir": "/mnt/runs/x",
    "accelerator": "tpu-v6e-slice",
    "topology": "4x4",
    "devices_per_node": 4,
    "image": "image",
    "storage": "claim",
    "mount": "/mnt/runs",
    **fields,
  }
  return gke.plan(Job(**options))


def gpus(**fields):
  return plan(accelerator="nvidia-l4", topology="", **fields)


def job_of(launch):
  """(the JobSet, the spec of its job)."""
  jobset = yaml.safe_load(launch.text)
  return jobset, jobset["spec"]["replicatedJobs"][0]["template"]["spec"]


def test_one_pod_per_machine_of_the_slice():
  for topology, chips, pods in (
    ("4x4", 4, 4),
    ("2x4", 8, 1),
    ("1x1", 1, 1),
    ("2x2x4", 4, 4),
  ):
    jobset, job = job_of(plan(topology=topology, devices_per_node=chips))
    assert (job["completions"], job["parallelism"]) == (pods, pods)
    pod = job["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == topology
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == {"google.com/tpu": chips}
    [script] = pod["containers"][0]["args"]
    assert f"--distributed={'auto' if pods > 1 else 'off'}" in script
    assert "exclusive-topology" in next(iter(jobset["metadata"]["annotations"]))


def test_gpu_pods_find_the_first_by_its_name_in_the_service():
  _, job = job_of(gpus(nodes=3))
  [script] = job["template"]["spec"]["containers"][0]["args"]
  assert "--coordinator=x-train-0-0.x:8476" in script
  assert "--num-processes=3" in script
  assert '--process-id="$JOB_COMPLETION_INDEX"' in script
  assert job["completionMode"] == "Indexed"


def failure_policy(exit_code, disrupted=False):
  """The action on a pod's end, by the documented rules."""
  jobset, job = job_of(gpus())
  for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
    codes = rule.get("onExitCodes", {"values": []})["values"]
    conditions = [c["type"] for c in rule.get("onPodConditions", [])]
    if exit_code in codes or (disrupted and "DisruptionTarget" in conditions):
      reason = "PodFailurePolicy"
      message = f"Container x matching {rule['action']} rule at index {index}"
      break
  else:
    reason, message = "BackoffLimitExceeded", "Job has reached the limit"
  for rule in jobset["spec"]["failurePolicy"]["rules"]:
    if reason in rule["onJobFailureReasons"] and any(
      re.search(pattern, message)
      for pattern in rule["onJobFailureMessagePatterns"]
    ):
      return rule["action"]
  return "RestartJobSet"


def test_ends_of_pods_decide():
  for code, disrupted, action in (
    (2, False, "FailJobSet"),
    (143, False, "RestartJobSetAndIgnoreMaxRestarts"),
    (137, True, "RestartJobSetAndIgnoreMaxRestarts"),
    (1, False, "RestartJobSet"),
    (134, False, "RestartJobSet"),
    # A drained pod that had found its input wrong: it is not restarted.
    (2, True, "FailJobSet"),
  ):
    assert failure_policy(code, disrupted) == action


def test_limits_and_queue():
  jobset, job = job_of(plan(restarts=7, grace=200, queue="q", hours=2))
  assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 7
  assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 200
  assert jobset["metadata"]["labels"] == {
    "kueue.x-k8s.io/queue-name": "q",
    "kueue.x-k8s.io/max-exec-time-seconds": "7200",
  }
  assert "labels" not in job_of(plan())[0]["metadata"]


def test_what_does_not_go_together_is_one_line():
  for fields, message in (
    ({"image": ""}, "--image: got nothing"),
    ({"topology": ""}, "--topology: got ''; valid: chips along each axis"),
    ({"topology": "4by4"}, "--topology: got '4by4'"),
    ({"topology": "3x3"}, "--devices-per-node: got 4 with 9 chips"),
    ({"accelerator": "nvidia-l4"}, "--topology: got '4x4' with 'nvidia-l4'"),
    ({"hours": 2}, "--hours: got 2 without --queue"),
    ({"devices_per_node": 0}, "--devices-per-node: got nothing"),
  ):
    with pytest.raises(InputError, match=re.escape(message)):
      plan(**fields)
