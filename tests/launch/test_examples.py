"""The rendered examples: what the program makes today, and what engines take.

They are made by the commands of the pages beside them.
"""

import pytest
import yaml

from mn_jax.tools import launch
from tests.launch import shells

EXAMPLES = shells.examples()
NAMES = [str(path.relative_to(shells.ROOT)) for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_example_is_what_the_program_makes(path, capsys, monkeypatch):
  monkeypatch.chdir(shells.ROOT)
  assert launch.main(EXAMPLES[path]) == 0
  assert capsys.readouterr().out == path.read_text()


def test_every_engine_has_a_page_and_an_example():
  engines = {path.parent.name for path in EXAMPLES}
  pages = (shells.ROOT / "launch").glob("*/README.md")
  assert engines == {page.parent.name for page in pages}
  assert engines == {"local", "slurm", "tpu_vm", "gke", "skypilot"}


@pytest.mark.parametrize(
  "script", sorted((shells.ROOT / "launch").rglob("*.sh")), ids=lambda p: p.name
)
def test_scripts_are_bash(script):
  shells.check(script.read_text())


def test_shellcheck_has_looked_at_the_scripts():
  shells.need_shellcheck()


# Fields and types of what is rendered, from the engines' documentation: the API
# types of JobSet v1alpha2, of Kubernetes' Job and Pod; the page "SkyPilot
# YAML". A name in a tuple may be missing; of a list every element is so.
POD = {
  "restartPolicy": {"Never"},
  "terminationGracePeriodSeconds": int,
  "nodeSelector": {str: str},
  ("tolerations",): [
    {"key": str, "operator": {"Equal"}, "value": str, "effect": {"NoSchedule"}}
  ],
  "containers": [
    {
      "name": str,
      "image": str,
      "command": [str],
      "args": [str],
      "resources": {"requests": {str: int}, "limits": {str: int}},
      "volumeMounts": [{"name": str, "mountPath": str}],
    }
  ],
  "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
}
JOB = {
  "completionMode": {"Indexed"},
  "completions": int,
  "parallelism": int,
  "backoffLimit": int,
  "podFailurePolicy": {
    "rules": [
      {
        "action": {"FailJob", "Ignore", "Count"},
        ("onExitCodes",): {
          "containerName": str,
          "operator": {"In", "NotIn"},
          "values": [int],
        },
        ("onPodConditions",): [{"type": str, "status": {"True"}}],
      }
    ]
  },
  "template": {"spec": POD},
}
JOBSET = {
  "apiVersion": {"jobset.x-k8s.io/v1alpha2"},
  "kind": {"JobSet"},
  "metadata": {
    "name": str,
    ("namespace",): str,
    ("labels",): {str: str},
    ("annotations",): {str: str},
  },
  "spec": {
    "network": {"enableDNSHostnames": bool},
    "failurePolicy": {
      "maxRestarts": int,
      "restartStrategy": {"Recreate", "BlockingRecreate"},
      "rules": [
        {
          "name": str,
          "action": {
            "FailJobSet",
            "RestartJobSet",
            "RestartJobSetAndIgnoreMaxRestarts",
          },
          "onJobFailureReasons": [str],
          "onJobFailureMessagePatterns": [str],
        }
      ],
    },
    "replicatedJobs": [
      {"name": str, "replicas": int, "template": {"spec": JOB}}
    ],
  },
}
TASK = {
  "name": str,
  "workdir": str,
  "num_nodes": int,
  "resources": {
    ("infra",): str,
    "accelerators": str,
    "use_spot": bool,
    ("image_id",): str,
    "job_recovery": {
      "max_restarts_on_errors": int,
      "recover_on_exit_codes": [int],
    },
  },
  ("volumes",): {str: str},
  ("file_mounts",): {
    str: {"source": str, "mode": {"MOUNT", "COPY", "MOUNT_CACHED"}}
  },
  ("setup",): str,
  "run": str,
}


def hold(value, shape, where=""):
  """Fails where a value has not the shape that is documented."""
  if isinstance(shape, type):
    assert type(value) is shape, where
  elif isinstance(shape, set):
    assert value in shape, where
  elif isinstance(shape, list):
    assert isinstance(value, list), where
    for index, element in enumerate(value):
      hold(element, shape[0], f"{where}[{index}]")
  elif str in shape:
    for key, element in value.items():
      hold(key, str, where)
      hold(element, shape[str], f"{where}.{key}")
  else:
    named = {k[0] if isinstance(k, tuple) else k: s for k, s in shape.items()}
    required = {key for key in shape if isinstance(key, str)}
    assert required <= value.keys() <= named.keys(), where
    for key, element in value.items():
      hold(element, named[key], f"{where}.{key}")


@pytest.mark.parametrize("name", ["gke/tpu.yaml", "gke/gpu.yaml"])
def test_jobsets_have_the_documented_fields(name):
  made = yaml.safe_load((shells.ROOT / "launch" / name).read_text())
  hold(made, JOBSET)


def test_task_has_the_documented_fields():
  path = shells.ROOT / "launch" / "skypilot" / "example.yaml"
  hold(yaml.safe_load(path.read_text()), TASK)


def test_shapes_refuse_what_is_not_in_them():
  good = {"name": "x", "replicas": 1, "template": {"spec": {}}}
  shape = {"name": str, "replicas": int, "template": {"spec": {}}}
  hold(good, shape)
  for bad in ({**good, "nmae": 1}, {**good, "replicas": "1"}, {"name": "x"}):
    with pytest.raises(AssertionError):
      hold(bad, shape)
