"""A job: what is trained, where its results go, and on which machines.

It is checked when it is made, against what no engine can use. Its name is the
run's id: it follows from the workdir and never from a clock, so that whatever
is started again resumes.
"""

import dataclasses
import pathlib
import re

from mn_jax.config import paths
from mn_jax.config.field import field
from mn_jax.errors import InputError

# What Kubernetes, Cloud TPU, SLURM and SkyPilot all take as a name, with room
# for what JobSet appends to it.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
# Names in an engine's own language, which are not quoted in its files.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_WORDS = (
  *("accelerator", "topology", "image", "storage", "zone", "project", "queue"),
  *("namespace", "runtime"),
)
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
    name: the run's id; empty: made of the last part of the workdir.
    overrides: changed fields of the config, `section.field=value`.
    env: (variable, value) of the processes; nothing secret.

  The other fields are options, whose metadata describes them. Those left empty
  or 0 are up to the engine.
  """

  config: str
  workdir: str
  name: str = ""
  overrides: tuple[str, ...] = ()
  env: tuple[tuple[str, str], ...] = ()
  nodes: int = field(1, "machines (default: 1)", low=1, high=4096)
  tasks_per_node: int = field(0, "processes on each machine", low=0, high=256)
  devices_per_node: int = field(
    0, "GPUs of each machine (default: none)", low=0, high=256
  )
  cpus_per_task: int = field(0, "CPU cores of each process", low=0, high=1024)
  cpu_devices: int = field(
    0, "devices to split each process's CPU into", low=0, high=1024
  )
  accelerator: str = field("", "type of the devices, as the engine calls it")
  topology: str = field("", "chips of a TPU slice along each axis, as 4x4")
  hours: float = field(0.0, "time limit of an attempt", low=0, high=24 * 365)
  code: str = field("", "folder of the checkout on the machines")
  python: str = field("python", "interpreter, seen from the checkout")
  activate: str = field(
    "", "shell command before training, as `module load cuda`"
  )
  setup: str = field("", "shell command that prepares a fresh machine")
  image: str = field("", "container, which has the checkout and its packages")
  cache_dir: str = field(
    "", "folder of packed data and compiled programs, $MN_JAX_CACHE"
  )
  storage: str = field("", "what outlives the machines, as the engine calls it")
  mount: str = field("", "where the machines see it; --workdir is below")
  zone: str = field("", "where machines are taken")
  project: str = field("", "account or project that pays")
  queue: str = field("", "partition or queue")
  namespace: str = field("", "namespace of Kubernetes")
  runtime: str = field(
    "", "software version of the VMs (default: by --accelerator)"
  )
  spot: bool = field(False, "take machines that may be preempted")
  grace: int = field(
    300,
    "seconds in which a stopped run may save (default: 300)",
    low=10,
    high=65535,
  )
  restarts: int = field(
    10,
    "failures after which the run is restarted (default: 10)",
    low=0,
    high=1000,
  )

  def __post_init__(self):
    """Makes the name and checks every field."""
    for option in dataclasses.fields(self):
      _check_text(option.name, getattr(self, option.name))
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
    for option in dataclasses.fields(self):
      low, high = (option.metadata.get(end) for end in ("low", "high"))
      value = getattr(self, option.name)
      if low is not None and not low <= value <= high:
        raise InputError(
          f"{_flag(option.name)}: got {value}; valid: {low} to {high}"
        )
    if self.hours and self.hours * 3600 < 2 * self.grace:
      raise InputError(
        f"--hours: got {self.hours:g}, of which the grace of {self.grace} s is "
        "more than half; valid: more hours, or a smaller --grace"
      )

  def _check_words(self) -> None:
    for name in _WORDS:
      value = getattr(self, name)
      if value and not _WORD.fullmatch(value):
        raise InputError(
          f"{_flag(name)}: got {value!r}; valid: letters, digits and ._:/@+-"
        )
    for name in ("workdir", "code", "cache_dir"):
      value = getattr(self, name)
      paths.refuse_url(value, _flag(name))
      if "\\" in value:
        raise InputError(
          f"{_flag(name)}: got {value!r}; valid: a path without backslashes"
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
  return f"--{name.replace('_', '-')}"


def _name(workdir: str) -> str:
  """Returns the id of a run by its folder: idc-v1 of runs/IDC_v1."""
  last = pathlib.PurePosixPath(workdir).name.lower()
  return re.sub(r"[^a-z0-9]+", "-", last).strip("-")


def _check_text(name: str, value: object) -> None:
  """Refuses text of several lines, and required text that is missing."""
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
  """Refuses names that no shell accepts, and those of secrets."""
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
