"""Where the kernels of a compiled step come from: layers, and other parts.

JAX names an operation by its transformations and modules,
'jit(step)/transpose(jvp(Classifier))/Classifier._maps/backbone/stem/conv/dot',
and remembers the stack where it was traced. What runs in no module belongs to
the loss, to the input (normalisation and augmentation), or to the update:
optimizer, averages of parameters, norms and random keys.

A fusion belongs to the place that the compiler's own name for it says: that of
its last operation. It may do work of other layers, too.
"""

import dataclasses
import re

from mn_jax.perf.program import hlo

FORWARD, BACKWARD = "forward", "backward"
INPUT, LOSS, UPDATE, OUTPUT = "input", "loss", "update", "output"
UNKNOWN = "unknown"

_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
# The class of the outermost module, also within transformations of JAX.
_NETWORK = re.compile(
  r"(?:^|/)(?:transpose\()?(?:jvp\()?(?:Classifier|MobileNet)\)*(?:/|$)"
)
_MODULE = re.compile(r"[A-Za-z]\w*")
# Names that JAX's own control flow and calls put into a path.
_NO_MODULES = {"cond", "while", "body", "closed_call", "checkpoint", "pjit"}
_BRANCH = re.compile(r"branch_\d+_fun")
_INPUT_FILES = re.compile(r"/mn_jax/augment/")
_INPUT_FUNCTIONS = re.compile(r"\bnormalise$")


@dataclasses.dataclass(frozen=True, order=True)
class Place:
  """A part of a step.

  Attributes:
    layer: path of a module, 'backbone/block3/pointwise/norm', or one of INPUT,
      LOSS, UPDATE, OUTPUT, UNKNOWN. Work of the network outside its layers,
      such as pooling, has the path of the module around it; 'network' is the
      outermost.
    direction: FORWARD, BACKWARD, or '' outside network and loss.
  """

  layer: str
  direction: str = ""


class Finder:
  """Finds the places of a program's instructions."""

  def __init__(self, program: hlo.Program):
    """Reads whether the program trains: then it has gradients."""
    self._program = program
    self._known: dict[tuple[str, str], Place | None] = {}
    self._names = {
      computation: {i.name: i for i in instructions}
      for computation, instructions in program.computations.items()
    }
    self._trains = any(
      "jvp(" in i.attributes
      for instructions in program.computations.values()
      for i in instructions
    )

  def place(
    self, computation: str, instruction: hlo.Instruction
  ) -> tuple[Place, int]:
    """Returns an instruction's place, and how many others it has work of."""
    place = self._of(computation, instruction)
    inner = self._fused(instruction)
    if place is None:
      place = self._of_neighbours(computation, instruction)
    place = place or Place(UNKNOWN)
    return place, len({other.layer for other in inner} - {place.layer})

  def _of(self, computation: str, instruction: hlo.Instruction) -> Place | None:
    key = computation, instruction.name
    if key not in self._known:
      self._known[key] = self._read(instruction)
    return self._known[key]

  def _read(self, instruction: hlo.Instruction) -> Place | None:
    """The place that the metadata of an instruction says."""
    name = _OP_NAME.search(instruction.attributes)
    if name is None:
      return None
    if instruction.opcode == "parameter":
      return self._of_argument(name[1])
    # Of operations that were made one, the first speaks.
    path = name[1].partition(";")[0]
    backward = "transpose(" in path
    network = _NETWORK.search(path)
    if network:
      layer = _layer(path[network.end() :]) or "network"
      return Place(layer, BACKWARD if backward else FORWARD)
    frame = _FRAME.search(instruction.attributes)
    frames = self._program.frames.get(int(frame[1]), ()) if frame else ()
    if any(
      _INPUT_FILES.search(file) or _INPUT_FUNCTIONS.search(function)
      for file, function in frames
    ):
      return Place(INPUT)
    if "jvp(" in path:
      return Place(LOSS, BACKWARD if backward else FORWARD)
    if "/" not in path and not frames:
      return None
    return Place(UPDATE if self._trains else OUTPUT)

  def _of_argument(self, name: str) -> Place | None:
    """Arguments of a training step are its state and its images."""
    if "image" in name:
      return Place(INPUT)
    return Place(UPDATE) if self._trains else None

  def _fused(self, instruction: hlo.Instruction) -> list[Place]:
    """Places of the instructions in a fusion."""
    if instruction.opcode != "fusion":
      return []
    found = []
    for name, _ in self._program.called(instruction):
      for inner in self._program.computations[name]:
        place = self._of(name, inner)
        found += [place] if place else self._fused(inner)
    return found

  def _of_neighbours(
    self, computation: str, instruction: hlo.Instruction
  ) -> Place | None:
    """The place of an instruction without a name of its own.

    It is that of the last named instruction in it, else of an operand, else of
    who uses it.
    """
    fused = self._fused(instruction)
    if fused:
      return fused[-1]
    known = self._names[computation]
    for name in instruction.operand_names():
      seen = set()
      while name in known and name not in seen:
        seen.add(name)
        operand = known[name]
        place = self._of(computation, operand)
        if place:
          return place
        name = next(iter(operand.operand_names()), "")
    for user in known.values():
      if instruction.name in user.operand_names():
        place = self._of(computation, user)
        if place:
          return place
    return None


def _layer(path: str) -> str:
  """The modules at the beginning of what follows the outermost one."""
  modules = []
  parts = [part for part in path.split("/") if part]
  # The last part is the operation.
  for part in parts[:-1]:
    if "." in part and not modules:
      continue  # a method of the outermost module
    if (
      not _MODULE.fullmatch(part) or part in _NO_MODULES or _BRANCH.match(part)
    ):
      break
    modules.append(part)
  return "/".join(modules)
