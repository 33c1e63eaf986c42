"""Which exported files are refused: those that answer too differently."""

from collections.abc import Mapping

from mn_jax.export.files import File
from mn_jax.export.judgement import Verdict

# Of the largest logit, if that is more than 1. Files in float32 of all networks
# stay a tenth of it away or less.
EXACT = 1e-3


def refusal(
  file: File, verdicts: Mapping[str, Verdict], *, max_loss: float
) -> str:
  """Says why a file is refused; '' if it is not.

  A file in float32 must compute what the network does, but for rounding. Where
  images were resized for it, that cannot be told; it is judged like files of
  other precisions then, by what it loses.

  Args:
    file: that was judged.
    verdicts: by part; the first decides on what is lost.
    max_loss: share of the deciding metric.
  """
  if file.options.precision == "float32":
    for part, verdict in verdicts.items():
      if not verdict.resampled and _is_inexact(verdict):
        return (
          f"on {part} its logits differ by up to "
          f"{verdict.largest_logit_difference:.2g} and its probabilities by "
          f"{verdict.largest_probability_difference:.2g} from the network's, "
          "more than rounding in float32 explains"
        )
  for part, verdict in verdicts.items():
    inexact = file.options.precision != "float32" or verdict.resampled
    # The reverse would accept what is not a number.
    if inexact and not verdict.loss <= max_loss:
      name = verdict.deciding
      resized = verdict.resampled and ", of images resized to its size"
      return (
        f"it loses {verdict.loss:.4f} of {name.replace('_', ' ')} on {part} "
        f"({verdict.before[name]:.4f} to {verdict.after[name]:.4f})"
        f"{resized or ''}, more than --max-loss={max_loss:g}"
      )
    break
  return ""


def _is_inexact(verdict: Verdict) -> bool:
  bound = EXACT * max(1.0, verdict.largest_logit)
  return not (
    verdict.largest_logit_difference <= bound
    and verdict.largest_probability_difference <= bound
  )
