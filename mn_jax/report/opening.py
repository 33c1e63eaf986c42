"""What a report learns by opening networks and data sets."""

import dataclasses
import pathlib

from mn_jax.data import packing
from mn_jax.report import guesses, insides
from mn_jax.report.findings import Findings
from mn_jax.report.insides import Insides
from mn_jax.run import reopen


@dataclasses.dataclass(frozen=True)
class Opened:
  """What was learnt.

  Attributes:
    guesses: sha256 of a split -> the baselines on its test.
    insides: folder of a run -> pictures.
  """

  guesses: dict[str, dict[str, dict[str, float]]]
  insides: dict[pathlib.Path, Insides]


class Opener:
  """Opens runs one by one; each data set's baselines are computed once."""

  def __init__(
    self,
    *,
    data_path: str | None,
    cache_dir: str | None,
    progress: packing.Progress,
  ):
    """Says how.

    Args:
      data_path, cache_dir: instead of what the runs were begun with.
      progress: called while images are decoded or go through a network.
    """
    self._options = {"data_path": data_path, "cache_dir": cache_dir}
    self._progress = progress
    self.opened = Opened({}, {})

  def open(self, found: Findings) -> None:
    """Adds what a run's network and data set tell.

    Raises:
      InputError: if they are not there any more.
    """
    if found.refused:
      return
    run = reopen.open_run(
      found.path, step=found.summary["best_step"], **self._options
    )
    data = run.data(self._progress)
    split = data.split.sha256
    if split not in self.opened.guesses:
      self.opened.guesses[split] = guesses.on_test(data)
    self.opened.insides[found.path] = insides.look(
      run, data, found, self._progress
    )
