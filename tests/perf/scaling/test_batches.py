"""The largest batch, with a memory that is a formula."""

import pytest

from mn_jax.perf.scaling.planning import batches


class Memory:
  """Counts how often it is asked, as each answer is a compilation."""

  def __init__(self, formula):
    self.formula = formula
    self.asked = []

  def __call__(self, batch):
    assert batch not in self.asked
    self.asked.append(batch)
    return self.formula(batch)


def linear(batch):
  return 1_000 + 10 * batch


@pytest.mark.parametrize(
  ("limit", "largest"),
  [
    (21_000, 2_000),  # exactly
    (21_079, 2_000),  # to a multiple of 8
    (21_080, 2_008),
    (2_280, 128),
    (2_279, 120),
    (1_320, 32),
    (1_080, 8),
    (1_079, 4),  # to a power of two
    (1_010, 1),
    (1_009, None),
  ],
)
def test_the_largest_that_fits(limit, largest):
  memory = Memory(linear)
  assert batches.largest(memory, limit) == largest
  assert len(memory.asked) <= 5


@pytest.mark.parametrize("limit", [3_000, 50_000, 1_000_000])
@pytest.mark.parametrize(
  "formula",
  [
    lambda batch: linear(-(-batch // 128) * 128),  # padded
    lambda batch: int(linear(batch) + 30 * batch**0.8),
    lambda batch: int(linear(batch) * (1 + 0.05 * (batch % 64 > 0))),
  ],
)
def test_what_is_not_quite_linear_still_fits(formula, limit):
  memory = Memory(formula)
  found = batches.largest(memory, limit)
  assert found is not None
  assert formula(found) <= limit
  assert found in memory.asked
  assert len(memory.asked) <= 6
  best = max(b for b in range(1, limit // 10) if formula(b) <= limit)
  assert found > 0.7 * best
