"""A disk that becomes full in the middle of a run.

MN_JAX_FULL_DISKS=100 makes so many trials.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import programs
from tests.reliability import full_disk

pytestmark = [
  pytest.mark.extended,
  pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
  ),
]
COUNT = int(os.environ.get("MN_JAX_FULL_DISKS", "6"))


def test_a_run_ends_in_one_line_and_resumes_with_room(tmp_path):
  arguments = [f"--trials={COUNT}", f"--output={tmp_path}"]
  program = subprocess.run(
    [sys.executable, "-m", "tests.reliability.full_disk", *arguments],
    cwd=programs.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  lines = (tmp_path / "trials.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert len(records) == COUNT, program.stderr
  assert [x for x in records if x["outcome"] not in full_disk.GOOD] == []
