"""Damaged files of runs and caches: nothing silent, nothing crashes.

MN_JAX_DAMAGES=1000 makes so many trials; -s shows the table.
"""

import os

import pytest

from tests.reliability import damage

pytestmark = pytest.mark.extended
COUNT = int(os.environ.get("MN_JAX_DAMAGES", "24"))


def test_damage_is_detected_or_changes_nothing(tmp_path):
  records = damage.run(tmp_path, trials=COUNT, seed=0)
  print(damage.markdown(damage.table(records)))
  assert len(records) == COUNT
  assert [x for x in records if x["outcome"] in damage.BAD] == []
