"""What runs in a peer's interpreter needs little of it."""

import ast
import pathlib
import sys

from mn_jax.perf.bench import side_process

PACKAGE = pathlib.Path(side_process.__file__).parents[2]
FOREIGN = [
  PACKAGE / "parallel" / "allocator.py",
  PACKAGE / "perf" / "bench" / "side_process.py",
  *sorted((PACKAGE / "perf" / "bench" / "peers").glob("*.py")),
]
MINE = {"mn_jax.parallel", "mn_jax.perf.bench"}


def test_peers_run_python_3_10_and_import_the_standard_library_at_first():
  for path in FOREIGN:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    for node in tree.body:
      if isinstance(node, ast.Import):
        for alias in node.names:
          assert alias.name.partition(".")[0] in sys.stdlib_module_names, path
      if isinstance(node, ast.ImportFrom) and node.module in MINE:
        assert {a.name for a in node.names} <= {"allocator", "side_process"}
      elif isinstance(node, ast.ImportFrom):
        top = node.module.partition(".")[0]
        assert top in sys.stdlib_module_names, path


def test_versions_skip_missing_packages():
  found = side_process.versions(("jax", "a_package_that_is_not_there"))
  assert set(found) == {"python", "jax"}
