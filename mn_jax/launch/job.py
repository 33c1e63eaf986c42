"""A job: what is trained, where its results go, and on which machines.

It is checked when it is made, against what no engine can use. Its name is the
run's id: it follows from the workdir and never from a clock, so that whatever
is started again resumes.
"""

import dataclasses
import pathlib
import re

from mn_jax.errors import InputError

# What Kubernetes, Cloud TPU, SLURM and SkyPilot all take as a name, with room
# for what JobSet appends to it.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
# Names in an engine's own language, which are not quoted in its files.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(
  r"TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(API|ACCESS|AUTH)_?KEY|_PAT$",
  re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")

# Port of process 0, where an engine does not choose it.
COORDINATOR_PORT = 8476


@dataclasses.dataclass(frozen=True)
class Job:
  """One training run on one engine; every engine reads the fields it needs.

  Attributes:
    config: file of the experiment with an optional argument, as the trainer's
      `--config`.
    workdir: folder of the run, on storage that all machines see.
    name: the run's id; empty: made of the workdir's last part.
    overrides: changed fields of the config, `section.field=value`.
    nodes: machines.
    tasks_per_node: processes on each; 0: as the engine sees fit.
    devices_per_node: GPUs or TPU chips of each; 0: CPUs only.
    cpus_per_task: CPU cores of each process; 0: the engine's default.
    cpu_devices: devices to split each process's CPU into; 0: not.
    accelerator: in the engine's own words.
    topology: of a TPU slice, chips along each axis: 4x4.
    hours: time limit of one attempt; 0: none.
    code: folder of the checkout on the machines.
    python: the interpreter, seen from there.
    activate: one shell command before it, such as that of an environment.
    setup: one shell command that prepares a fresh machine.
    image: of the container.
    cache_dir: folder of packed data and compiled programs, `MN_JAX_CACHE`;
      empty: as the machines have it.
    storage: what lies at `mount`: a volume, a bucket or an NFS share.
    mount: folder where the machines see it; the workdir and cache are below.
    zone: where machines are taken, in the engine's own words.
    project: that pays.
    queue: partition or queue.
    namespace: of Kubernetes.
    runtime: software version of Cloud TPU VMs.
    spot: whether machines may be taken away.
    grace: seconds between the request to stop and the end, to save in.
    restarts: how many failures are answered by another attempt; attempts that
      were stopped from outside are not counted.
    env: (variable, value) of the processes; nothing secret.
  """

  config: str
  workdir: str
  name: str = ""
  overrides: tuple[str, ...] = ()
  nodes: int = 1
  tasks_per_node: int = 0
  devices_per_node: int = 0
  cpus_per_task: int = 0
  cpu_devices: int = 0
  accelerator: str = ""
  topology: str = ""
  hours: float = 0.0
  code: str = ""
  python: str = "python"
  activate: str = ""
  setup: str = ""
  image: str = ""
  cache_dir: str = ""
  storage: str = ""
  mount: str = ""
  zone: str = ""
  project: str = ""
  queue: str = ""
  namespace: str = ""
  runtime: str = ""
  spot: bool = False
  grace: int = 300
  restarts: int = 10
  env: tuple[tuple[str, str], ...] = ()

  def __post_init__(self):
    """Makes the name and checks every field.

    Raises:
      InputError: naming the flag.
    """
    for field in dataclasses.fields(self):
      _check_text(field.name, getattr(self, field.name))
    if not self.name:
      object.__setattr__(self, "name", _name(self.workdir))
    if not _NAME.fullmatch(self.name):
      raise InputError(
        f"--name: got {self.name!r}; valid: at most 40 small letters, digits "
        "and hyphens, a letter first and no hyphen last"
      )
    self._check_numbers()
    self._check_words()
    _check_env(self.env)
    if self.mount:
      self._check_mount()

  @property
  def processes(self) -> int:
    """Number of processes on all nodes together."""
    return self.nodes * max(1, self.tasks_per_node)

  @property
  def logs(self) -> str:
    """Folder of this job's files, such as a log per process."""
    return f"{self.workdir.rstrip('/')}/launch"

  def command(self) -> tuple[str, ...]:
    """Returns the trainer's command, without flags that number processes."""
    split = (f"--cpu-devices={self.cpu_devices}",) if self.cpu_devices else ()
    return (
      self.python,
      "-m",
      "mn_jax.main",
      f"--config={self.config}",
      *self.overrides,
      f"--workdir={self.workdir}",
      *split,
    )

  def environment(self) -> tuple[tuple[str, str], ...]:
    """Returns all environment variables that are set for the processes."""
    cache = (("MN_JAX_CACHE", self.cache_dir),) if self.cache_dir else ()
    # Otherwise nothing is written to a log until a block of it is full.
    return (("PYTHONUNBUFFERED", "1"), *cache, *self.env)

  def _check_numbers(self) -> None:
    for name, low, high in (
      ("nodes", 1, 4096),
      ("tasks_per_node", 0, 256),
      ("devices_per_node", 0, 256),
      ("cpus_per_task", 0, 1024),
      ("cpu_devices", 0, 1024),
      ("hours", 0, 24 * 365),
      ("grace", 10, 65535),
      ("restarts", 0, 1000),
    ):
      value = getattr(self, name)
      if not low <= value <= high:
        raise InputError(f"{_flag(name)}: got {value}; valid: {low} to {high}")
    if self.hours and self.hours * 3600 < 2 * self.grace:
      raise InputError(
        f"--hours: got {self.hours:g}, of which the grace of {self.grace} s is "
        "more than half; valid: more hours, or a smaller --grace"
      )

  def _check_words(self) -> None:
    for name in (
      "accelerator",
      "topology",
      "image",
      "storage",
      "zone",
      "project",
      "queue",
      "namespace",
      "runtime",
    ):
      value = getattr(self, name)
      if value and not _WORD.fullmatch(value):
        raise InputError(
          f"{_flag(name)}: got {value!r}; valid: letters, digits and ._:/@+-"
        )
    for name in ("workdir", "code", "cache_dir"):
      if "\\" in getattr(self, name):
        raise InputError(
          f"{_flag(name)}: got {getattr(self, name)!r}; valid: a path without "
          "backslashes"
        )

  def _check_mount(self) -> None:
    if not _ABSOLUTE.fullmatch(self.mount):
      raise InputError(
        f"--mount: got {self.mount!r}; valid: an absolute path of letters, "
        "digits and ._/-"
      )
    for name in ("workdir", "cache_dir"):
      value = getattr(self, name)
      path = pathlib.PurePosixPath(value)
      inside = path.is_relative_to(self.mount) and ".." not in path.parts
      if value and not (inside and path != pathlib.PurePosixPath(self.mount)):
        raise InputError(
          f"{_flag(name)}: got {value!r}; valid: a folder below {self.mount}, "
          "where the storage is that outlives the machines"
        )


def require(job: Job, *names: str) -> None:
  """Checks that a job has the fields that an engine needs.

  Raises:
    InputError: naming the first that is not.
  """
  for name in names:
    if not getattr(job, name):
      raise InputError(
        f"{_flag(name)}: got nothing; valid: {_flag(name)}=VALUE"
      )


def _flag(name: str) -> str:
  """Returns the flag of a field."""
  return f"--{name.replace('_', '-')}"


def _name(workdir: str) -> str:
  """Returns the id of a run by its folder: idc-v1 of runs/IDC_v1."""
  last = pathlib.PurePosixPath(workdir).name.lower()
  return re.sub(r"[^a-z0-9]+", "-", last).strip("-")


def _check_text(name: str, value: object) -> None:
  """Refuses text that does not fit one line, and required text that is missing.

  Raises:
    InputError: naming the flag.
  """
  if isinstance(value, tuple):
    for part in value:
      _check_text(name, part)
  elif isinstance(value, str) and not value.isprintable():
    raise InputError(
      f"{_flag(name)}: got {value!r}; valid: one line of printable characters"
    )
  if name in ("config", "workdir") and not value:
    raise InputError(f"{_flag(name)}: got nothing; valid: {_flag(name)}=VALUE")


def _check_env(env: tuple[tuple[str, str], ...]) -> None:
  """Refuses names that no shell accepts, and those of secrets.

  Raises:
    InputError: naming the variable, never its value.
  """
  for variable, _ in env:
    if not _VARIABLE.fullmatch(variable):
      raise InputError(
        f"--env: got {variable!r}; valid: NAME=VALUE with a name of letters, "
        "digits and _"
      )
    if _SECRET.search(variable):
      raise InputError(
        f"--env: got {variable!r}, which sounds like a secret, and would be "
        "written into a file; valid: other variables"
      )
