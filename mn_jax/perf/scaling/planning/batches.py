"""The largest batch per chip that fits, from a few sizes of its program."""

from collections.abc import Callable

# Memory is all but linear in the batch: two sizes tell where to look.
_FIRST = (32, 128)
# Programs looked at after these. A larger one is tried only for so much more.
_TRIALS = 4
_WORTH = 1.05
_MULTIPLE = 8


def largest(memory_of: Callable[[int], int], limit: int) -> int | None:
  """The largest batch whose memory is known to fit.

  Batches are multiples of 8 or, below, powers of two.

  Args:
    memory_of: batch per chip -> bytes that a step needs, also beyond the limit.
    limit: bytes that there are.

  Returns:
    Images per chip, or None if not even one fits.
  """
  known = {size: memory_of(size) for size in _FIRST}
  for _ in range(_TRIALS):
    fitting = max((b for b in known if known[b] <= limit), default=0)
    wanted = _solve(known, limit, fitting)
    if wanted in known or wanted < fitting * _WORTH:
      break
    known[wanted] = memory_of(wanted)
  return max((b for b in known if known[b] <= limit), default=None)


def _solve(known: dict[int, int], limit: int, fitting: int) -> int:
  """The batch that should just fit, by the line through the two nearest."""
  near = sorted(known, key=lambda b: abs(known[b] - limit))[:2]
  low, high = sorted(near)
  slope = (known[high] - known[low]) / (high - low)
  # Two that are padded to one size tell nothing.
  wanted = 2 * high
  if slope > 0:
    wanted = _round_down(int(low + (limit - known[low]) / slope))
  # Never again what did not fit, nor more.
  refused = min((b for b in known if known[b] > limit), default=None)
  if refused is not None and wanted >= refused:
    wanted = _round_down(refused - 1)
  return max(wanted, fitting, 1)


def _round_down(batch: int) -> int:
  """To a multiple of 8, or to a power of two below."""
  if batch >= _MULTIPLE:
    return batch // _MULTIPLE * _MULTIPLE
  return 1 << max(batch, 1).bit_length() - 1
