"""Every value reaches the trainer as it was given, through all languages."""

import json
import pathlib
import re

import pytest
import yaml

from mn_jax.launch import gke, skypilot, slurm, tpu_vm
from mn_jax.launch.job import Job
from tests.launch import shells

# Writes its arguments and one variable as they are.
SHOW = (
  'printf "%s\\0" "$@" > "$HERE/arguments"; printf %s "$GIVEN" > "$HERE/given"'
)


def hostile(folder, text, **fields):
  program = shells.program(folder / "show", SHOW)
  return Job(
    config=f"configs/{text}.py",
    workdir=f"{folder}/{text}",
    name="x",
    overrides=(f"--config.data.path={text}",),
    python=str(program),
    env=(("GIVEN", text),),
    **fields,
  )


def shown(folder):
  arguments = (folder / "arguments").read_text().split("\0")[:-1]
  return arguments, (folder / "given").read_text()


def expected(job, *flags):
  return [*job.command()[1:], *flags], dict(job.env)["GIVEN"]


def test_templates_quote_what_may_be_anything():
  free = re.compile(r"job\.(config|workdir|logs|code|python|cache|mount|env)\b")
  folder = shells.ROOT / "mn_jax" / "launch" / "templates"
  templates = sorted(folder.iterdir())
  assert templates
  for template in templates:
    for expression in re.findall(r"\{\{(.*?)\}\}", template.read_text()):
      if free.search(expression):
        assert re.search(r"\| (sh|yaml)\b", expression), expression


def expanded(text: str, variables: dict[str, str]) -> str:
  """An argument as Kubernetes expands it: $$ is $, $(NAME) a variable."""

  def one(found):
    if found[0] == "$$":
      return "$"
    return variables.get(found[1], found[0])

  return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


@pytest.mark.parametrize("text", shells.HOSTILE)
def test_slurm(tmp_path, text):
  job = hostile(tmp_path, text, code=str(tmp_path))
  launch = slurm.plan(job)
  shells.check(launch.text, "warning")
  programs = tmp_path / "bin"
  programs.mkdir()
  # srun as far as it matters: the command after its own options.
  shells.program(
    programs / "srun",
    'while [[ $1 == --* ]]; do echo "$1" >> "$HERE/srun"; shift; done; "$@"',
  )
  done = shells.run(
    launch.text,
    path=programs,
    cwd=tmp_path,
    HERE=str(tmp_path),
    SLURM_JOB_ID="7",
    SLURM_JOB_NODELIST="n1",
  )
  assert done.returncode == 0, done.stderr
  assert shown(tmp_path) == expected(job, "--distributed=off")
  # A percent sign is doubled for srun, which knows patterns.
  output = f"--output={job.logs.replace('%', '%%')}/rank%t.log"
  assert output in (tmp_path / "srun").read_text().splitlines()
  assert not list(tmp_path.rglob("HACKED"))


def container(text):
  pod = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]
  return pod["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("text", shells.HOSTILE)
def test_gke(tmp_path, text):
  job = hostile(
    tmp_path,
    text,
    accelerator="nvidia-l4",
    devices_per_node=1,
    image="image",
    storage="claim",
    mount=str(tmp_path),
  )
  [argument] = container(gke.plan(job).text)["args"]
  script = expanded(argument, {"HOME": "/wrong", "x": "wrong"})
  shells.check(script, "warning")
  done = shells.run(
    script, cwd=tmp_path, HERE=str(tmp_path), JOB_COMPLETION_INDEX="0"
  )
  assert done.returncode == 0, done.stderr
  assert shown(tmp_path) == expected(job, "--distributed=off")
  assert not list(tmp_path.rglob("HACKED"))


@pytest.mark.parametrize("text", shells.HOSTILE)
def test_skypilot(tmp_path, text):
  job = hostile(
    tmp_path,
    text,
    accelerator="L4:1",
    storage="volume",
    mount=str(tmp_path),
    nodes=2,
    setup=f"echo {json.dumps(text)}" if text == "größe" else "",
  )
  task = yaml.safe_load(skypilot.plan(job).text)
  shells.check(task["run"], "warning")
  done = shells.run(
    task["run"],
    cwd=tmp_path,
    HERE=str(tmp_path),
    SKYPILOT_NODE_RANK="1",
    SKYPILOT_NUM_NODES="2",
    SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
    SKYPILOT_TASK_ID="sky/1",
  )
  assert done.returncode == 0, done.stderr
  assert shown(tmp_path) == expected(
    job, "--coordinator=10.0.0.1:8476", "--num_processes=2", "--process_id=1"
  )
  assert not list(tmp_path.rglob("HACKED"))


@pytest.mark.parametrize("text", shells.HOSTILE)
def test_tpu_vm(tmp_path, text):
  job = hostile(
    tmp_path,
    text,
    accelerator="v6e-8",
    zone="z",
    mount=str(tmp_path),
    code=str(tmp_path),
  )
  text = tpu_vm.plan(job).text
  shells.check(text, "warning")
  worker = re.search(r"<< 'WORKER' .*?\n(.*?)\nWORKER\n", text, re.DOTALL)[1]
  worker = worker.replace("/tmp/mn_jax.x", f"{tmp_path}/held")
  shells.check(f"attempt=1\n{worker}", "warning")
  programs = tmp_path / "bin"
  programs.mkdir()
  shells.program(programs / "curl", "echo 0")
  done = shells.run(
    f"attempt=1\n{worker}", path=programs, cwd=tmp_path, HERE=str(tmp_path)
  )
  assert done.returncode == 0, done.stderr
  assert shown(tmp_path) == expected(job, "--distributed=auto")
  assert (pathlib.Path(job.logs) / "exit.1.0").read_text() == "0\n"
  assert not list(tmp_path.rglob("HACKED"))
