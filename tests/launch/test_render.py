"""Every value reaches the trainer as it was given, through all languages."""

import pathlib
import re

import yaml

from mn_jax.launch import gke, skypilot, slurm, tpu_vm
from mn_jax.launch.job import Job
from tests.launch import shells

# Writes its arguments and some variables as they are.
SHOW = r"""
printf '%s\0' "$@" > "$HERE/arguments"
for name in "${!GIVEN_@}"; do printf '%s\0' "${!name}"; done > "$HERE/variables"
"""


def hostile(folder, **fields):
  """A job whose trainer is `SHOW`, with hostile text wherever any is taken."""
  together = " ".join(shells.HOSTILE)
  (folder / "bin").mkdir()
  given = {
    "config": f"configs/{together}.py",
    "workdir": f"{folder}/{together}",
    "name": "x",
    "overrides": tuple(f"--config.data.path={t}" for t in shells.HOSTILE),
    "python": str(shells.program(folder / "bin" / "show", SHOW)),
    "env": tuple((f"GIVEN_{i:02}", t) for i, t in enumerate(shells.HOSTILE)),
    **fields,
  }
  return Job(**given)


def check(script, folder, job, *flags, **variables):
  """Runs a script, whose trainer must get all values unchanged.

  Args:
    script: its text.
    folder: where it runs, with stand-ins for an engine's programs in `bin`.
    job: what the script was made of.
    flags: what the engine adds to the trainer's command.
    variables: of the script's environment.
  """
  shells.check(script, "warning")
  done = shells.run(
    script, path=folder / "bin", cwd=folder, HERE=str(folder), **variables
  )
  assert done.returncode == 0, done.stderr
  arguments, values = (
    (folder / name).read_text().split("\0")[:-1]
    for name in ("arguments", "variables")
  )
  assert arguments == [*job.command()[1:], *flags]
  assert values == list(shells.HOSTILE)
  assert not list(folder.rglob("HACKED"))


def test_templates_quote_what_may_be_anything():
  free = re.compile(
    r"job\.(config|workdir|logs|code|python|cache_dir|mount|env)\b"
  )
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


def test_slurm(tmp_path):
  job = hostile(tmp_path, code=str(tmp_path))
  # srun as far as it matters: the command after its own options.
  shells.program(
    tmp_path / "bin" / "srun",
    'while [[ $1 == --* ]]; do echo "$1" >> "$HERE/srun"; shift; done; "$@"',
  )
  check(
    slurm.plan(job).text,
    tmp_path,
    job,
    "--distributed=off",
    SLURM_JOB_ID="7",
    SLURM_JOB_NODELIST="n1",
  )
  # A percent sign is doubled for srun, which knows patterns.
  output = f"--output={job.logs.replace('%', '%%')}/rank%t.log"
  assert output in (tmp_path / "srun").read_text().splitlines()


def test_gke(tmp_path):
  job = hostile(
    tmp_path,
    accelerator="nvidia-l4",
    devices_per_node=1,
    image="image",
    storage="claim",
    mount=str(tmp_path),
  )
  jobset = yaml.safe_load(gke.plan(job).text)
  pods = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
  [argument] = pods["spec"]["containers"][0]["args"]
  script = expanded(argument, {"HOME": "/wrong", "x": "wrong"})
  check(script, tmp_path, job, "--distributed=off", JOB_COMPLETION_INDEX="0")


def test_skypilot(tmp_path):
  job = hostile(
    tmp_path,
    accelerator="L4:1",
    storage="volume",
    mount=str(tmp_path),
    nodes=2,
    setup='echo "größe"',
  )
  check(
    yaml.safe_load(skypilot.plan(job).text)["run"],
    tmp_path,
    job,
    *("--coordinator=10.0.0.1:8476", "--num-processes=2", "--process-id=1"),
    SKYPILOT_NODE_RANK="1",
    SKYPILOT_NUM_NODES="2",
    SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
    SKYPILOT_TASK_ID="sky/1",
  )


def test_tpu_vm(tmp_path):
  job = hostile(
    tmp_path,
    accelerator="v6e-8",
    zone="z",
    mount=str(tmp_path),
    code=str(tmp_path),
  )
  text = tpu_vm.plan(job).text
  shells.check(text, "warning")
  worker = re.search(r"<< 'WORKER' .*?\n(.*?)\nWORKER\n", text, re.DOTALL)[1]
  worker = worker.replace("/tmp/mn_jax.x", f"{tmp_path}/held")
  shells.program(tmp_path / "bin" / "curl", "echo 0")
  check(f"attempt=1\n{worker}", tmp_path, job, "--distributed=auto")
  assert (pathlib.Path(job.logs) / "exit.1.0").read_text() == "0\n"
