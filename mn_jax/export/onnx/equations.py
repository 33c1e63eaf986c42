"""A traced network as a flat list of equations, for writers of graphs.

JAX traces a function to a nest of programs: `jit`, `custom_vjp`, a branch for
each platform. Here they are one list. What depends on parameters alone is
computed, and what no output needs is left out.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core

from mn_jax.errors import InputError
from mn_jax.ops.platforms import PORTABLE

# Images of the batch that is traced. No other size is likely to be this one, so
# that what mixes images cannot pass for what does not. A symbolic batch would
# do as well, but strided slices of it are traced to gathers.
_BATCH = 997
# Equations that call another program, and the parameter that it is in.
_CALLS = {
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
  "jit": "jaxpr",
  "remat2": "jaxpr",
}
# Equations that return what they get.
_IDENTITIES = ("copy", "optimization_barrier")


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
  """An array that depends on the images.

  Attributes:
    shape: its size for each image, without the batch, which is its first axis.
  """

  shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
  """An array that does not depend on the input.

  Attributes:
    array: its values; its first axis is 1 where it was broadcast to the batch.
    name: path of the parameter that it comes from, or ''.
  """

  array: np.ndarray
  name: str = ""

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the array."""
    return self.array.shape


@dataclasses.dataclass(frozen=True, eq=False)
class Equation:
  """One operation.

  Attributes:
    primitive: its name, as JAX has it.
    inputs: its operands.
    output: its result.
    params: its other parameters.
    scope: path of the module that it is of, such as 'backbone/stem/conv'.
  """

  primitive: str
  inputs: tuple[Value | Constant, ...]
  output: Value
  params: dict[str, Any]
  scope: str


@dataclasses.dataclass(frozen=True)
class Trace:
  """A traced function of one array.

  Attributes:
    input, output: its argument and its result.
    equations: in the order of their computation.
  """

  input: Value
  output: Value
  equations: tuple[Equation, ...]

  def uses(self) -> dict[Value, int]:
    """Counts how often each value is read; the output once more."""
    counts = {self.output: 1}
    for equation in self.equations:
      for x in equation.inputs:
        if isinstance(x, Value):
          counts[x] = counts.get(x, 0) + 1
    return counts


def unsupported(what: str, scope: str) -> InputError:
  """Returns the error of a network that has what no writer knows."""
  where = f" in {scope!r}" if scope else ""
  return InputError(
    f"export: got a network with {what}{where}; valid: the operations of the "
    "networks in mn_jax.models"
  )


def trace(function: Callable, variables: dict, shape: tuple[int, ...]) -> Trace:
  """Traces a function of parameters and a batch of arrays.

  Args:
    function: (variables, f32[batch, *shape]) -> one f32 array.
    variables: tree of NumPy arrays.
    shape: of the array without its batch.

  Raises:
    InputError: for a program that cannot be flattened.
  """
  x = jax.ShapeDtypeStruct((_BATCH, *shape), np.float32)
  closed = jax.make_jaxpr(function)(variables, x)
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  constants = [Constant(np.asarray(v), _name(path)) for path, v in leaves]
  start = Value(shape)
  flat = _Flattened([], "")
  (output,) = flat.program(closed.jaxpr, closed.consts, [*constants, start])
  if not isinstance(output, Value):
    raise unsupported("an output that does not depend on the images", "")
  return Trace(start, output, tuple(_needed(flat.equations, output)))


@dataclasses.dataclass(frozen=True)
class _Flattened:
  """Equations so far, and the scope of the program that calls the next."""

  equations: list[Equation]
  scope: str

  def program(self, jaxpr: core.Jaxpr, consts: list, inputs: list) -> list:
    """Appends the equations of a program; returns its outputs."""
    known: dict[core.Var, Value | Constant] = {}

    def read(atom):
      if isinstance(atom, core.Literal):
        return Constant(np.asarray(atom.val))
      return known[atom]

    for var, value in zip(jaxpr.constvars, consts, strict=True):
      known[var] = Constant(np.asarray(value))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
      outputs = self._equation(eqn, [read(atom) for atom in eqn.invars])
      known.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]

  def _equation(self, eqn: core.JaxprEqn, inputs: list) -> list:
    name = eqn.primitive.name
    scope = "/".join(filter(None, (self.scope, _scope(eqn))))
    inner = _Flattened(self.equations, scope)
    if name in _CALLS:
      called = eqn.params[_CALLS[name]]
      if isinstance(called, core.ClosedJaxpr):
        return inner.program(called.jaxpr, called.consts, inputs)
      return inner.program(called, [], inputs)
    if name == "platform_index":
      return [Constant(np.int32(_branch(eqn.params["platforms"])))]
    if name == "cond" and isinstance(inputs[0], Constant):
      branch = eqn.params["branches"][int(inputs[0].array)]
      return inner.program(branch.jaxpr, branch.consts, inputs[1:])
    if name in _IDENTITIES:
      return inputs
    if name == "convert_element_type" and isinstance(inputs[0], Value):
      if eqn.params["new_dtype"] != np.float32:
        raise unsupported(f"arrays of {eqn.params['new_dtype']}", scope)
      return inputs
    if all(isinstance(x, Constant) for x in inputs):
      return _computed(eqn, inputs, scope)
    shape = eqn.outvars[0].aval.shape
    if len(eqn.outvars) != 1 or shape[:1] != (_BATCH,):
      raise unsupported(f"the operation {name!r}", scope)
    output = Value(shape[1:])
    self.equations.append(
      Equation(name, tuple(inputs), output, dict(eqn.params), scope)
    )
    return [output]


def _computed(
  eqn: core.JaxprEqn, inputs: list[Constant], scope: str
) -> list[Constant]:
  """Evaluates an equation of constants."""
  name = next((x.name for x in inputs if x.name), "")
  if eqn.primitive.name == "broadcast_in_dim":
    (x,) = inputs
    shape = eqn.params["shape"]
    ones = [1] * len(shape)
    axes = eqn.params["broadcast_dimensions"]
    for axis, size in zip(axes, x.shape, strict=True):
      ones[axis] = size
    array = x.array.reshape(ones)
    if shape[:1] == (_BATCH,):
      shape = (ones[0], *shape[1:])
    return [Constant(np.broadcast_to(array, shape), name)]
  for x, atom in zip(inputs, eqn.invars, strict=True):
    if x.shape != atom.aval.shape:  # broadcast to a batch
      raise unsupported(f"{eqn.primitive.name!r} of broadcast constants", scope)
  outputs = eqn.primitive.bind(*(x.array for x in inputs), **eqn.params)
  if not eqn.primitive.multiple_results:
    outputs = [outputs]
  return [Constant(np.asarray(x), name) for x in outputs]


def _needed(equations: list[Equation], output: Value) -> Iterator[Equation]:
  """Yields the equations that the output depends on, in their order."""
  needed = {output}
  keep = []
  for equation in reversed(equations):
    if equation.output in needed:
      needed.update(x for x in equation.inputs if isinstance(x, Value))
      keep.append(equation)
  return reversed(keep)


def _branch(platforms: tuple[tuple[str, ...] | None, ...]) -> int:
  """Returns which branch is of files; None stands for all platforms."""
  for i, names in enumerate(platforms):
    if names is None or PORTABLE in names:
      return i
  raise unsupported(f"operations for {platforms} alone", "")


def _scope(eqn: core.JaxprEqn) -> str:
  """Path of the module that an equation is of, without methods and classes."""
  parts = str(eqn.source_info.name_stack).split("/")
  # Flax has 'Classifier' for the outermost module, 'Classifier._maps' for its
  # methods; the modules within have names.
  return "/".join(p for p in parts if p and not p[0].isupper())


def _name(path: tuple) -> str:
  keys = [str(key.key) for key in path]
  return "/".join(keys[1:])  # without the collection, 'params'
