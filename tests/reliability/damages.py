"""What can happen to a file, and which files of a run there are."""

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable

import numpy as np

from tests.reliability import subjects

# Patterns of paths below a subject's folder; the first that fits is the kind.
_KINDS = (
  ("run/checkpoints/[^/]+/metrics/metrics", "checkpoint: score"),
  ("run/checkpoints/[^/]+/position/metadata", "checkpoint: position"),
  (".*/commit_success.txt", "checkpoint: commit marker"),
  ("run/checkpoints/.*/d/[0-9a-f]+", "checkpoint: arrays"),
  ("run/checkpoints/.*/manifest.ocdbt", "checkpoint: manifest"),
  ("run/checkpoints/.*/_METADATA", "checkpoint: _METADATA"),
  ("run/checkpoints/.*/_sharding", "checkpoint: _sharding"),
  ("run/checkpoints/.*/array_metadatas/.*", "checkpoint: array_metadatas"),
  ("run/checkpoints/.*/_CHECKPOINT_METADATA", "checkpoint: step metadata"),
  ("run/checkpoints/.*", "checkpoint: other"),
  (r"run/([^/]+\.(json|jsonl|txt))", None),
  ("run/tensorboard/.*", "tensorboard"),
  ("run/predictions/.*", "predictions"),
  ("run/reference.npz", "reference.npz"),
  ("run/figures/.*", "figures"),
  ("cache/packed/.*/images.u8", "packed cache: pixels"),
  ("cache/packed/.*/index.npz", "packed cache: index"),
  ("cache/packed/.*/meta.json", "packed cache: meta.json"),
  ("cache/features/.*", "cached features"),
  (r"cache/[^/]+\.json", "manifest of prepared data"),
  ("cache/compiled/.*", "compiled programs"),
)
# Flips are the subtlest, and each hits another bit.
DAMAGES = ("flip", "flip", "flip", "truncate", "empty", "delete", "garbage")
COMPILED = "compiled programs"
# A run on cached features differs from the others in these alone.
_OF_FROZEN = ("cached features", "checkpoint: position", "config.json")
# What reads a kind of file, where it is not every program.
_READERS = {
  "tensorboard": ("train",),
  "figures": ("train",),
  "parameters.txt": ("train",),
  "metrics.jsonl": ("train", "report"),
  "predictions": ("train", "report"),
  "reference.npz": ("train", "predict"),
  "summary.json": ("train", "report"),
  "packed cache: pixels": ("train", "evaluate"),
  "packed cache: index": ("train", "evaluate"),
  "packed cache: meta.json": ("train", "evaluate"),
  "manifest of prepared data": ("train", "evaluate"),
  "cached features": ("train",),
  COMPILED: ("train",),
}


@dataclasses.dataclass(frozen=True)
class Trial:
  """One damage to one file, and what is then done with the run.

  Attributes:
    index: number of the trial.
    subject: 'halfway', 'finished' or 'frozen'.
    kind: of the file.
    path: below the trial's folder: 'run/config.json', 'cache/idc.json'.
    damage: 'flip', 'truncate', 'empty', 'delete', 'garbage' or 'swap'.
    action: 'train', 'evaluate', 'predict' or 'report'.
    seed: of the bit, the length or the bytes.
  """

  index: int
  subject: str
  kind: str
  path: str
  damage: str
  action: str
  seed: int


def kind_of(path: str) -> str | None:
  """The kind of a file; None for what no run depends on, such as locks."""
  for pattern, kind in _KINDS:
    match = re.fullmatch(pattern, path)
    if match:
      return kind or match[1]
  return None


def plan(
  files: dict[str, dict[str, int]], count: int, seed: int
) -> list[Trial]:
  """Trials spread evenly over subjects, kinds, damages and actions.

  Args:
    files: of each subject, below a trial's folder, with their sizes.
    count: of trials.
    seed: of the choice; a larger count extends a smaller one.
  """
  rng = np.random.default_rng(seed)
  cells = []
  for subject, sizes in sorted(files.items()):
    by_kind: dict[str, list[str]] = {}
    for path in sorted(sizes):
      kind = kind_of(path)
      if kind is not None and (subject != "frozen" or kind in _OF_FROZEN):
        by_kind.setdefault(kind, []).append(path)
    for kind, members in by_kind.items():
      swaps = ("swap",) if kind.startswith("checkpoint") else ()
      cells += [
        (subject, kind, _read_by(action, kind, members), damage, action)
        for damage in (*DAMAGES, *swaps)
        for action in _actions(subject, kind)
      ]
  trials: list[Trial] = []
  while len(trials) < count:
    for cell in rng.permutation(len(cells))[: count - len(trials)]:
      subject, kind, members, damage, action = cells[cell]
      # Most bytes of a checkpoint are in few of its files.
      weights = np.array([files[subject][path] for path in members], float)
      path = members[rng.choice(len(members), p=weights / weights.sum())]
      index, own = len(trials), int(rng.integers(2**31))
      trials.append(Trial(index, subject, kind, path, damage, action, own))
  return trials


def _actions(subject: str, kind: str) -> tuple[str, ...]:
  """The actions on a subject that read a kind of file."""
  actions = subjects.ACTIONS[subject]
  if kind == COMPILED and subject != "halfway":
    return ()
  if kind in _READERS:
    return tuple(x for x in actions if x in _READERS[kind])
  if kind.startswith("checkpoint"):
    # The report opens none, and a finished run is not trained.
    finished = subject == "finished"
    unread = ("report", "train") if finished else ()
    return tuple(x for x in actions if x not in unread)
  return actions


def _read_by(action: str, kind: str, members: list[str]) -> list[str]:
  """Of a kind's files those that an action reads, if it reads any of them."""
  if not kind.startswith("checkpoint"):
    return members
  steps = sorted({int(path.split("/")[2]) for path in members})
  # The best is the oldest, and the newest says so.
  both = action == "train" or kind == "checkpoint: position"
  read = (steps[0], steps[-1]) if both else steps[:1]
  return [path for path in members if int(path.split("/")[2]) in read]


def apply(trial: Trial, folder: pathlib.Path) -> str:
  """Damages a file of a trial's folder; says in words how."""
  path = folder / trial.path
  rng = np.random.default_rng(trial.seed)
  content = path.read_bytes()
  path.unlink()  # it may be a hard link
  said, damaged = _DAMAGES[trial.damage](path, content, rng)
  if damaged is not None:
    path.write_bytes(damaged)
  return said


def _flip(path, content, rng):
  if not content:
    return "one byte added", b"\0"
  bit = int(rng.integers(8 * len(content)))
  damaged = bytearray(content)
  damaged[bit // 8] ^= 1 << bit % 8
  return f"bit {bit} flipped", bytes(damaged)


def _truncate(path, content, rng):
  length = int(rng.integers(len(content))) if content else 0
  return f"cut to {length} of {len(content)} bytes", content[:length]


def _garbage(path, content, rng):
  return f"{len(content)} random bytes", rng.bytes(max(len(content), 1))


def _swap(path, content, rng):
  """Exchanges a checkpoint's file for one of its kind of another step."""
  parts = path.parts
  at = len(parts) - parts[::-1].index("checkpoints")
  steps = pathlib.Path(*parts[:at])
  others = sorted(
    p
    for p in steps.glob("*/" + "/".join(parts[at + 1 : -1]) + "/*")
    if p.relative_to(steps).parts[0] != parts[at]
    and (p.name == path.name or path.parent.name == "d")
  )
  if not others:
    return "gone", None
  other = others[rng.integers(len(others))]
  said = f"swapped with {other.relative_to(steps)}"
  damaged = other.read_bytes()
  other.unlink()
  other.write_bytes(content)
  return said, damaged


_DAMAGES: dict[str, Callable] = {
  "flip": _flip,
  "truncate": _truncate,
  "empty": lambda path, content, rng: ("emptied", b""),
  "delete": lambda path, content, rng: ("deleted", None),
  "garbage": _garbage,
  "swap": _swap,
}


def copy(
  base: pathlib.Path,
  subject: str,
  folder: pathlib.Path,
  *,
  compiled: bool = False,
) -> None:
  """Makes a trial's folder anew: 'run' and 'cache', intact.

  Args:
    base: of `subjects.make`.
    subject: whose files to copy.
    folder: of the trial.
    compiled: whether it gets compiled programs of its own; without, it uses
      those of all, and adds to them.
  """
  shutil.rmtree(folder, ignore_errors=True)
  (folder / "cache").mkdir(parents=True)
  run = base / subject
  shutil.copytree(
    run, folder / "run", ignore=shutil.ignore_patterns("checkpoints")
  )
  # Orbax never writes into a file that is there.
  shutil.copytree(
    run / "checkpoints",
    folder / "run" / "checkpoints",
    copy_function=lambda a, b: pathlib.Path(b).hardlink_to(a),
  )
  for path in (base / "cache").iterdir():
    target = folder / "cache" / path.name
    if path.name == "compiled" and not compiled:
      target.symlink_to(path)
    elif path.is_dir():
      shutil.copytree(path, target)
    else:
      shutil.copy(path, target)


def list_files(base: pathlib.Path, subject: str) -> dict[str, int]:
  """The files of a trial's folder, below it, and their sizes."""
  roots = {"run": base / subject, "cache": base / "cache"}
  return {
    f"{name}/{path.relative_to(root)}": path.stat().st_size
    for name, root in roots.items()
    for path in root.rglob("*")
    if path.is_file()
  }
