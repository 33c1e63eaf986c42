"""The arrows of docs/design.md: imports point downward, and never in a ring."""

import ast
import functools
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "mn_jax"

# A module may import its own floor and those below; rooms are named by folder.
FLOORS = {
  "errors": 0,
  "config": 0,
  "sections": 0,
  "plan": 0,
  "validate": 0,
  "accelerators": 0,
  "allocator": 0,
  "ops": 0,
  "models": 0,
  "data": 0,
  "web": 0,
  "rules": 1,
  "state": 1,
  "optim": 1,
  "mesh": 1,
  "cluster": 1,
  "compile_cache": 1,
  "liveness": 1,
  "watchdog": 1,
  "losses": 1,
  "slide": 1,
  "buckets": 1,
  "metrics": 1,
  "augment": 1,
  "weights": 1,
  "acquire": 1,
  "tfds_builders": 1,
  "step": 2,
  "replicas": 2,
  "evaluate": 2,
  "features": 2,
  "judge": 2,
  "predictor": 2,
  "saliency": 2,
  "embedding": 2,
  "recalibrate": 2,
  "split_data": 2,
  "checkpoint": 2,
  "observe": 2,
  "workdir": 2,
  "study": 3,
  "collect": 3,
  "run_study": 3,
  "sweep": 3,
  "report": 3,
  "bench": 3,
  "launch": 3,
  "scaling": 3,
  "sweep_plan": 3,
  "leaderboard": 3,
  "initial": 3,
  "experiment": 3,
  "record": 3,
  "restored": 3,
  "train": 3,
  "run": 3,
  "commandline": 4,
  "main": 4,
  "run_options": 4,
  "tools": 4,
}

# What the rooms of the lowest floor may import besides the standard library.
ROOMS = {
  "ops": {"jax", "numpy", "mn_jax.ops"},
  "models": {"jax", "flax", "numpy", "mn_jax.ops", "mn_jax.models"}
  | {"mn_jax.errors"},
  "data": {"numpy", "grain", "PIL", "imagecodecs", "simplejpeg", "filelock"}
  | {"mn_jax.data"}
  | {"mn_jax.errors"},
  "web": {"filelock", "mn_jax.web", "mn_jax.errors"},
}
# The one file that reads what TensorFlow Datasets wrote, and imports it only
# then.
ALLOWED = {"mn_jax.data.tfds_files": {"tensorflow_datasets"}}
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


@pytest.mark.parametrize("module", modules())
def test_imports_point_downward(module):
  assert room(module) in FLOORS, f"{module}: give its room a floor"
  for other in ours(imports(modules()[module])):
    assert FLOORS[room(other)] <= FLOORS[room(module)], f"{module} -> {other}"
    if room(other) == "tools":
      assert room(module) == "tools", f"{module} -> {other}"


@pytest.mark.parametrize("module", [m for m in modules() if room(m) in ROOMS])
def test_lowest_rooms_know_little(module):
  allowed = ROOMS[room(module)] | ALLOWED.get(module, set())
  for other in imports(modules()[module]):
    top = other.split(".")[0]
    name = ".".join(other.split(".")[:2]) if top == "mn_jax" else top
    assert top in STDLIB or name in allowed, f"{module} -> {other}"


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


@pytest.mark.parametrize("module", modules())
def test_files_are_short(module):
  assert len(modules()[module].read_text().splitlines()) <= 400


def test_steps_know_no_files_and_no_clocks():
  for module in modules():
    if room(module) not in ("step", "losses", "augment"):
      continue
    names = {name.split(".")[0] for name in imports(modules()[module])}
    assert not names & {"pathlib", "os", "time", "io", "absl"}
