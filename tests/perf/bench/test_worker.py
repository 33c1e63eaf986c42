"""What runs in a peer's interpreter needs little of it."""

import ast
import pathlib
import sys

import pytest

from mn_jax.perf.bench import worker

PACKAGE = pathlib.Path(worker.__file__).parents[2]
FOREIGN = [
  PACKAGE / "allocator.py",
  PACKAGE / "bench" / "worker.py",
  *sorted((PACKAGE / "bench" / "peers").glob("*.py")),
]
MINE = {"mn_jax", "mn_jax.bench"}


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_it_is_read_by_python_3_10(path):
  ast.parse(path.read_text(), feature_version=(3, 10))


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_before_its_case(path):
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      for alias in node.names:
        assert alias.name.partition(".")[0] in sys.stdlib_module_names
    if isinstance(node, ast.ImportFrom):
      top = node.module.partition(".")[0]
      assert top in sys.stdlib_module_names or node.module in MINE
      if node.module in MINE:
        assert {a.name for a in node.names} <= {"allocator", "worker"}


def test_versions_leave_out_what_is_not_there():
  found = worker.versions(("jax", "a_package_that_is_not_there"))
  assert set(found) == {"python", "jax"}
