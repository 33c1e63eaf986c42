"""What docs/depthwise.md shows is run, in its order."""

import re
import subprocess
import sys

from tests.test_docs import TEXT

PAGE = TEXT["docs/depthwise.md"]
IMAGES = "(1, 124, 124, 256)"


def test_the_page_runs(capsys):
  blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
  assert len(blocks) == 4
  code = "\n".join(blocks)
  assert IMAGES in code
  small = code.replace(IMAGES, "(1, 12, 12, 8)").replace(
    "(3, 3, 1, 256)", "(3, 3, 1, 8)"
  )
  exec(small, {})  # noqa: S102
  lines = capsys.readouterr().out.splitlines()
  assert [line.partition(":")[0] for line in lines] == ["grouped", "ours"]


def test_the_operations_import_jax_and_numpy_alone():
  code = (
    "import sys, jax, numpy; before = set(sys.modules); import mn_jax.ops; "
    "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert set(done.stdout.split()) <= {"mn_jax", "jax", "jaxlib", "numpy"}
