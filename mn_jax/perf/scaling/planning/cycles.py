"""Cycles that the TPU compiler expects a program to take, without links.

The compiler schedules by them and leaves them beside each operation: what its
matrix and vector units and its memory need, whichever is the longest. They are
an estimate that nobody publishes, but the only one that knows of vector units
and of padding. Loops count every turn.
"""

import re

from mn_jax.perf.scaling.planning import hlo

_ESTIMATE = re.compile(r'"estimated_cycles":"(\d+)"')
# Fusions have estimates of their own; these run whole computations.
_RUNS = {"call", "conditional", "while"}


def count(program: hlo.Program) -> int:
  """Cycles of one run; 0 for programs of other compilers."""
  return _computation(program, program.entry)


def _computation(program: hlo.Program, name: str) -> int:
  total = 0
  for each in program.computations.get(name, []):
    estimate = _ESTIMATE.search(each.attributes)
    if each.opcode in _RUNS:
      turns = [
        times * _computation(program, called)
        for called, times in program.called(each)
      ]
      # Of branches, the one that costs most.
      total += max(turns, default=0)
    elif estimate:
      total += int(estimate[1])
  return total
