"""What runs in a peer's interpreter needs little of it."""

import ast
import pathlib
import sys

import pytest

from mn_jax.perf.bench import side_process

PACKAGE = pathlib.Path(side_process.__file__).parents[2]
FOREIGN = [
  PACKAGE / "parallel" / "allocator.py",
  PACKAGE / "perf" / "bench" / "side_process.py",
  *sorted((PACKAGE / "perf" / "bench" / "peers").glob("*.py")),
]
MINE = {"mn_jax.parallel", "mn_jax.perf.bench"}


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_python_3_10_parses_what_peers_run(path):
  ast.parse(path.read_text(), feature_version=(3, 10))


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_peers_import_only_the_standard_library_at_first(path):
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.Import):
      for alias in node.names:
        assert alias.name.partition(".")[0] in sys.stdlib_module_names
    if isinstance(node, ast.ImportFrom):
      top = node.module.partition(".")[0]
      assert top in sys.stdlib_module_names or node.module in MINE
      if node.module in MINE:
        assert {a.name for a in node.names} <= {"allocator", "side_process"}


def test_versions_skip_missing_packages():
  found = side_process.versions(("jax", "a_package_that_is_not_there"))
  assert set(found) == {"python", "jax"}
