"""From a function that JAX traces to a LiteRT flatbuffer, by litert-converter.

JAX exports the function as StableHLO, in its portable serialisation (VHLO),
which litert-converter lowers to LiteRT's operations. Its documented front end
takes PyTorch models; this is the part behind it, whose functions have no
documentation and no promise, so one version of it is accepted.
"""

import importlib.metadata
import os
from collections.abc import Callable, Sequence

import jax
from jax import export as jax_export

from mn_jax.errors import InputError, RunError, in_one_line
from mn_jax.ops.platforms import PORTABLE

# Of litert-converter, as pyproject.toml pins it.
VERSION = "0.5.0"

# The names of a model's only entry and of what it takes.
SIGNATURE = "serving_default"
INPUT = "images"


def convert(
  program: Callable[[jax.Array], Sequence[jax.Array]],
  images: jax.ShapeDtypeStruct,
  output_names: Sequence[str],
) -> bytes:
  """Converts a function to a LiteRT flatbuffer in float32.

  Args:
    program: maps an array to a sequence of arrays.
    images: shape and dtype of its argument.
    output_names: of its results, in their order. The argument is called INPUT.

  Raises:
    InputError: with another version of the converter.
    RunError: if the converter fails.
  """
  found = importlib.metadata.version("litert-converter")
  if found != VERSION:
    raise InputError(
      f"litert-converter: got version {found}; valid: {VERSION} (its entry is "
      "undocumented), after pip install '.[export]' in a checkout"
    )
  exported = jax_export.export(jax.jit(program), platforms=[PORTABLE])(images)
  ir, passmanager, api = _converter()
  context = ir.Context()
  api.prepare_mlir_context(context)
  try:
    with context, ir.Location.unknown():
      module = ir.Module.parse(exported.mlir_module_serialized)
      pipeline = "builtin.module(vhlo-legalize-stablehlo,inline)"
      passmanager.PassManager.parse(pipeline).run(module.operation)
      api.set_signature(
        module.operation, SIGNATURE, [INPUT], list(output_names)
      )
      # Also of one module: the merged one is what the next passes expect.
      merged = api.merge_modules([module])
      api.run_convert_to_tfl_passes(
        merged, passmanager.PassManager(), api.ConvertToTFLConfig()
      )
      return api.export_flatbuffer_to_bytes(merged.operation)
  except (RuntimeError, ValueError, ir.MLIRError) as error:
    raise RunError(
      f"litert-converter failed: {in_one_line(error)}; please report the "
      "network and the options"
    ) from error


def _converter():
  """Imports the converter, without a line of advice on oneDNN."""
  variable = "TF_ENABLE_ONEDNN_OPTS"
  before = os.environ.get(variable)
  os.environ[variable] = before or "0"
  try:
    from litert_converter.mlir import ir, passmanager
    from litert_converter.mlir._mlir_libs import converter_api_ext
  finally:
    if before is None:
      del os.environ[variable]
  return ir, passmanager, converter_api_ext
