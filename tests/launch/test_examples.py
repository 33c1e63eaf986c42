"""The rendered examples: what the program makes today, and what engines take.

They are made by the commands of the pages beside them.
"""

import re
import shutil

import pytest
import yaml

from mn_jax.tools import launch
from tests.launch import shells

EXAMPLES = shells.examples()


def test_examples_are_what_the_program_makes(capsys, monkeypatch):
  monkeypatch.chdir(shells.ROOT)
  for path, arguments in EXAMPLES.items():
    assert launch.main(arguments) == 0
    assert capsys.readouterr().out == path.read_text(), path
  engines = {path.parent.name for path in EXAMPLES}
  pages = (shells.ROOT / "launch").glob("*/README.md")
  assert engines == {page.parent.name for page in pages}
  assert engines == {"local", "slurm", "tpu_vm", "gke", "skypilot"}


def test_scripts_are_bash():
  for script in (shells.ROOT / "launch").rglob("*.sh"):
    shells.check(script.read_text())


def test_shellcheck_is_installed():
  if not shutil.which("shellcheck"):
    pytest.skip("shellcheck is not installed, so scripts were only parsed")


# Fields of what is rendered, and the type of their values or of the elements of
# a list of them, from the engines' documentation: the API types of JobSet
# v1alpha2, of Kubernetes' Job and Pod; the page "SkyPilot YAML".
JOB = "spec.replicatedJobs[].template.spec."
POD = f"{JOB}template.spec."
JOBSET = {
  str: """apiVersion kind metadata.name metadata.namespace metadata.labels.*
    metadata.annotations.* spec.failurePolicy.restartStrategy
    spec.failurePolicy.rules[].name spec.failurePolicy.rules[].action
    spec.failurePolicy.rules[].onJobFailureReasons[]
    spec.failurePolicy.rules[].onJobFailureMessagePatterns[]
    spec.replicatedJobs[].name JOB.completionMode
    JOB.podFailurePolicy.rules[].action
    JOB.podFailurePolicy.rules[].onExitCodes.containerName
    JOB.podFailurePolicy.rules[].onExitCodes.operator
    JOB.podFailurePolicy.rules[].onPodConditions[].type
    JOB.podFailurePolicy.rules[].onPodConditions[].status
    POD.restartPolicy POD.nodeSelector.* POD.tolerations[].key
    POD.tolerations[].operator POD.tolerations[].value
    POD.tolerations[].effect POD.containers[].name POD.containers[].image
    POD.containers[].command[] POD.containers[].args[]
    POD.containers[].volumeMounts[].name
    POD.containers[].volumeMounts[].mountPath POD.volumes[].name
    POD.volumes[].persistentVolumeClaim.claimName""",
  int: """spec.failurePolicy.maxRestarts spec.replicatedJobs[].replicas
    JOB.completions JOB.parallelism JOB.backoffLimit
    JOB.podFailurePolicy.rules[].onExitCodes.values[]
    POD.terminationGracePeriodSeconds
    POD.containers[].resources.requests.*
    POD.containers[].resources.limits.*""",
  bool: "spec.network.enableDNSHostnames",
}
TASK = {
  str: """name workdir resources.infra resources.accelerators
    resources.image_id volumes.* file_mounts.*.source file_mounts.*.mode
    setup run""",
  int: """num_nodes resources.job_recovery.max_restarts_on_errors
    resources.job_recovery.recover_on_exit_codes[]""",
  bool: "resources.use_spot",
}


def leaves(value, name=""):
  """The fields of YAML with their types."""
  if isinstance(value, dict):
    for key, element in value.items():
      yield from leaves(element, f"{name}.{key}" if name else key)
  elif isinstance(value, list):
    for element in value:
      yield from leaves(element, f"{name}[]")
  else:
    yield name, type(value)


def test_rendered_files_have_the_documented_fields():
  for file, documented in (
    ("gke/tpu.yaml", JOBSET),
    ("gke/gpu.yaml", JOBSET),
    ("skypilot/example.yaml", TASK),
  ):
    made = yaml.safe_load((shells.ROOT / "launch" / file).read_text())
    for name, kind in leaves(made):
      name = name.replace(POD, "POD.").replace(JOB, "JOB.")
      fields = documented[kind].split()
      assert any(
        re.fullmatch(re.escape(field).replace(r"\*", r".+"), name)
        for field in fields
      ), (file, name, kind)
