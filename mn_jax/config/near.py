"""What a mistyped name was probably meant to be."""

import difflib
from collections.abc import Iterable, Mapping

from mn_jax.config import experiment

# Names that other programs have for fields.
_ALIASES = {"lr": "optim.learning_rate", "wd": "optim.weight_decay"}
_CUTOFF = 0.75  # 'epoch' is near 'epochs', 'flip' is not near 'clip_norm'
_OF_SECTION = 0.6  # there are few of them: 'optimizer' is near 'optim'


def hint(meant: str) -> str:
  """Returns how a message asks about a name; '' for ''."""
  return f" (did you mean {meant!r}?)" if meant else ""


def name(wrong: str, valid: Iterable[str]) -> str:
  """Returns the valid name that is nearest, or '' if none is near."""
  return _nearest(wrong, {x: x for x in valid})


def field(wrong: str, others: Mapping[str, str] | None = None) -> str:
  """Returns the path of the config's field that is nearest, or ''.

  Args:
    wrong: a path, or the name of a field or of a field in other programs.
    others: more names that may be meant -> what they stand for.
  """
  given, _, last = wrong.rpartition(".")
  paths = [path for path, *_ in experiment.items(experiment.Config())]
  sections = dict.fromkeys(path.rpartition(".")[0] for path in paths)
  section = _nearest(given, {x: x for x in sections if x}, _OF_SECTION)
  own, known = {}, dict(_ALIASES)
  for path in paths:
    of_section, _, end = path.rpartition(".")
    known.setdefault(end, path)
    if section and of_section == section:
      own[end] = path
  return _nearest(last, own) or _nearest(last, known | dict(others or {}))


def _nearest(
  wrong: str, known: Mapping[str, str], cutoff: float = _CUTOFF
) -> str:
  found = difflib.get_close_matches(wrong, known, n=1, cutoff=cutoff)
  return known[found[0]] if found else ""
