"""The arrows of docs/design.md: imports point downward, and never in a ring."""

import ast
import functools
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1] / "mn_jax"

# The one table of floors: a room may import its own floor and those below.
FLOORS = (
  {"errors", "config", "ops"},
  {"data", "models"},
  {"augment", "weights", "metrics", "parallel"},
  {"train", "observe"},
  {"run"},
  {"evaluation", "own_images"},
  {"deploy", "export", "explain", "studies", "report"},
  {"demo", "perf", "launch"},
  {"commandline", "api", "main", "tools"},
)
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}

# What the lowest rooms may import besides the standard library.
ROOMS = {
  "ops": {"jax", "numpy", "mn_jax.ops"},
  "models": {"jax", "flax", "numpy", "mn_jax.ops", "mn_jax.models"}
  | {"mn_jax.errors"},
  "data": {"numpy", "grain", "PIL", "filelock", "mn_jax.data", "mn_jax.errors"},
}
# Files that import more, optional packages only when they are asked to.
ALLOWED = {
  "mn_jax.data.files.table": {"pyarrow"},
  "mn_jax.data.datasets.tfds_files": {"tensorflow_datasets"},
  "mn_jax.data.acquire.download": {"pooch", "requests"},
  "mn_jax.data.acquire.kaggle": {"kagglehub", "requests"},
  "mn_jax.data.manifest": {"mn_jax"},
  "mn_jax.data.store": {"mn_jax.config"},
  "mn_jax.data.acquire.tfds": {
    "requests",
    "tensorflow",
    "tensorflow_datasets",
  },
}
# Of training what knows no files and no clocks.
PURE = {
  f"mn_jax.train.{name}" for name in ("step", "objective", "losses", "distill")
}
STDLIB = __import__("sys").stdlib_module_names


@functools.cache
def modules() -> dict[str, pathlib.Path]:
  return {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
  }


def imports(path: pathlib.Path) -> set[str]:
  """Every module that a file imports, anywhere in it."""
  found = set()
  known = modules()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        found.add(inner if inner in known else node.module)
  return found


def room(module: str) -> str:
  return module.split(".")[1]


def ours(names: set[str]) -> set[str]:
  return {name for name in names if name in modules()}


def test_imports_point_downward():
  wrong = []
  for module, path in modules().items():
    assert room(module) in FLOOR, f"{module}: give its room a floor"
    for other in ours(imports(path)):
      up = FLOOR[room(other)] > FLOOR[room(module)]
      # Nothing imports the programs but programs.
      program = room(other) == "tools" and room(module) != "tools"
      if up or program:
        wrong.append(f"{module} -> {other}")
  assert not wrong


def test_lowest_rooms_know_little():
  wrong = []
  for module, path in modules().items():
    if room(module) not in ROOMS:
      continue
    allowed = ROOMS[room(module)] | ALLOWED.get(module, set())
    for other in imports(path):
      top = other.split(".")[0]
      name = ".".join(other.split(".")[:2]) if top == "mn_jax" else top
      if top not in STDLIB and name not in allowed:
        wrong.append(f"{module} -> {other}")
  assert not wrong


def test_no_ring_of_imports():
  graph = {m: ours(imports(p)) for m, p in modules().items()}
  done: set[str] = set()

  def visit(module: str, path: tuple[str, ...]) -> None:
    assert module not in path, " -> ".join((*path, module))
    if module not in done:
      for other in graph[module]:
        visit(other, (*path, module))
      done.add(module)

  for module in graph:
    visit(module, ())


def test_the_root_holds_what_people_import_or_run():
  loose = {path.stem for path in PACKAGE.glob("*.py")}
  assert loose <= {"__init__", "main", "api", "errors"}


def test_text_has_an_encoding():
  """Without one a file would be in that of the machine's locale."""
  unspecified = []
  for module, path in modules().items():
    for node in ast.walk(ast.parse(path.read_text())):
      if not isinstance(node, ast.Call) or not isinstance(
        node.func, ast.Attribute
      ):
        continue
      modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
      is_text = node.func.attr in ("read_text", "write_text") or (
        node.func.attr == "open" and bool({"r", "w", "a", "x"} & {*modes})
      )
      named = any(k.arg == "encoding" for k in node.keywords)
      if is_text and not named and ast.unparse(node.func.value) != "atomic":
        unspecified.append(f"{module}:{node.lineno}")
  assert not unspecified


def test_files_and_functions_are_short():
  """At most 400 lines a file and 80 a function."""
  root, long = PACKAGE.parent, []
  for folder in ("mn_jax", "configs", "tests"):
    for path in sorted((root / folder).rglob("*.py")):
      text = path.read_text()
      if len(text.splitlines()) > 400:
        long.append(str(path))
      for node in ast.walk(ast.parse(text)):
        is_function = isinstance(node, ast.FunctionDef)
        if is_function and node.end_lineno - node.lineno >= 80:
          long.append(f"{path}: {node.name}")
  assert not long


def test_steps_know_no_files_and_no_clocks():
  for module in modules():
    pure = module in PURE
    if not pure and room(module) != "augment":
      continue
    names = {name.split(".")[0] for name in imports(modules()[module])}
    assert not names & {"pathlib", "os", "time", "io", "absl"}
