"""Bytes of real programs, counted by hand.

The texts beside this file are what XLA made, for an H200 and for a v5e, of
functions of a few lines; only what its passes note for themselves is left out.
"""

import math
import pathlib

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mn_jax.perf.program import costs, hlo, kernels, traffic

TEXTS = pathlib.Path(__file__).parent / "texts"
F32 = 4  # bytes
SQUARE = 256 * 256 * F32


def read(name: str) -> hlo.Program:
  return hlo.parse((TEXTS / f"{name}.hlo").read_text(encoding="utf-8"))


def total(program: hlo.Program) -> traffic.Traffic:
  """What all kernels move, which `costs.memory_traffic` says, too."""
  found = kernels.list_kernels(program)
  moved = traffic.Traffic(
    sum(k.times * k.traffic.read for k in found),
    sum(k.times * k.traffic.written for k in found),
  )
  assert moved.total == costs.memory_traffic(program)
  return moved


def compiled(function, *shapes, **options) -> traffic.Traffic:
  arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  lowered = jax.jit(function, **options).lower(*arguments)
  return total(hlo.parse(lowered.compile().as_text()))


def moved(lines: str, *, bodies: str = "") -> traffic.Traffic:
  return total(hlo.parse(f"{bodies}\nENTRY %main {{\n{lines}\n}}"))


def test_functions_that_move_a_known_number_of_bytes():
  size = (256, 256)
  for function, shapes, read_bytes, written in (
    (lambda x: x + 1, [size], SQUARE, SQUARE),
    (lambda x, y: x + y, [size, size], 2 * SQUARE, SQUARE),
    # One array, wherever it is used.
    (lambda x: x * jnp.flip(x, 0), [size], SQUARE, SQUARE),
    (lambda x, y: x @ y, [size, size], 2 * SQUARE, SQUARE),
    (lambda x: x @ x, [size], SQUARE, SQUARE),
    (lambda x: jnp.sum(x, 0), [size], SQUARE, 256 * F32),
    (lambda x: 2 * x[:64], [size], SQUARE // 4, SQUARE // 4),
    (lambda x: 2 * x[::2, ::2], [size], SQUARE // 4, SQUARE // 4),
    # What is not used is not read.
    (lambda x, y: x + y[0, 0], [size, size], SQUARE + F32, SQUARE),
    (lambda x: jnp.zeros(size), [size], 0, SQUARE),
  ):
    found = compiled(function, *shapes)
    # Scalars, such as the zero that a sum starts with, have a few bytes.
    assert found.read == pytest.approx(read_bytes, abs=16)
    assert found.written == written


def test_an_update_in_place_moves_the_update():
  def put(x, update):
    return lax.dynamic_update_slice(x, update, (64, 0))

  found = compiled(put, (256, 256), (1, 256), donate_argnums=0)
  assert found.read == pytest.approx(256 * F32, abs=16)
  assert found.written == 256 * F32
  # Without donation the array is copied first.
  found = compiled(put, (256, 256), (1, 256))
  assert found.read == pytest.approx(SQUARE + 256 * F32, abs=16)
  assert found.written == SQUARE + 256 * F32


def test_slices_of_a_scan_add_up_to_the_array():
  def rows(x):
    return lax.scan(lambda total, row: (total + row, None), x[0], x)[0]

  found = compiled(rows, (64, 4096))
  array = 64 * 4096 * F32
  # Every iteration reads a row and reads and writes the sum.
  assert 2 * array <= found.read < 3.3 * array
  assert array <= found.written < 2.3 * array


def test_kernels_of_a_gpu_by_hand():
  """A scan of five iterations, a product split in four, an update in place."""
  program = read("gpu_scan")
  found = {k.name: k for k in kernels.list_kernels(program)}
  for name, kind, times, read_bytes, written in (
    ("copy.13", kernels.COPY, 1, SQUARE, SQUARE),
    # The scalar that it broadcasts is part of its code.
    ("loop_broadcast_fusion", kernels.COPY, 1, 0, 5 * F32),
    ("input_add_reduce_fusion", kernels.REDUCE, 5, SQUARE, SQUARE + 1024),
    ("input_reduce_fusion", kernels.REDUCE, 5, 1024, F32),
    # One of five sums, at a position, asynchronously.
    ("fusion-start", kernels.COPY, 5, 2 * F32, F32),
    ("gemm_fusion_dot", "Triton product", 1, 2 * SQUARE, 4 * SQUARE),
    ("loop_maximum_fusion", kernels.LOOP, 1, 4 * SQUARE, SQUARE),
    ("loop_dynamic_update_slice_fusion.1", kernels.COPY, 1, 0, 256 * F32),
  ):
    kernel = found[name]
    assert (kernel.kind, kernel.times) == (kind, times), name
    assert kernel.traffic == traffic.Traffic(read_bytes, written), name
  assert [(loop.trips, loop.times) for loop in kernels.list_loops(program)] == [
    (5, 1)
  ]
  moved_bytes = total(program)
  scalars = 4 + 5 * 4  # the counter: copied once, and read five times
  assert moved_bytes.read == (
    scalars + 2 * SQUARE + 5 * (SQUARE + 1024 + 8) + 2 * SQUARE + 5 * SQUARE
  )


def test_convolutions_of_cudnn():
  program = read("gpu_conv")
  image, output = 8 * 16 * 16 * 8 * 2, 8 * 16 * 16 * 16 * 2
  kernel = 3 * 3 * 8 * 16 * 2
  found = {
    k.kind: k for k in kernels.list_kernels(program) if "cuDNN" in k.kind
  }
  for kind, read_bytes, written in (
    ("cuDNN forward", image + kernel, output),
    ("cuDNN filter gradient", image + output, kernel),
    ("cuDNN input gradient", output + kernel, image),
  ):
    assert found.pop(kind).traffic == traffic.Traffic(read_bytes, written)
  assert not found
  # A workspace is neither result nor operand.
  text = (TEXTS / "gpu_conv.hlo").read_text(encoding="utf-8")
  with_workspace = hlo.parse(text.replace("u8[0]", "u8[123456]"))
  assert total(with_workspace) == total(program)


def test_memory_within_a_tpu_is_free():
  """Both arguments are brought in once, padded to tiles, and go out once."""
  # Batch innermost in tiles of 8 x 128 becomes channels above 16 columns.
  image = 8 * 16 * 8 * 128 * 2
  kernel = 3 * 3 * 8 * 128 * 2
  program = read("tpu_conv")
  assert total(program) == traffic.Traffic(image + kernel, image + kernel)
  assert costs.cycles(program) == sum(
    k.times * k.cycles for k in kernels.list_kernels(program)
  )


def test_results_in_a_tuple_are_updated_in_place_each_for_itself():
  array, part = "f32[64,256]{1,0}", "f32[1,256]{1,0}"
  body = f"""%both (p: f32[]) -> f32[] {{
%p0 = {array} parameter(0)
%p1 = {part} parameter(1)
%p2 = s32[] parameter(2)
%z = s32[] constant(0)
%u = {array} dynamic-update-slice(%p0, %p1, %p2, %z)
%n = {part} negate(%p1)
ROOT %t = ({array}, {part}) tuple(%u, %n)
}}
"""
  found = moved(
    f"""%a = {array} parameter(0)
%b = {part} parameter(1)
%i = s32[] parameter(2)
ROOT %f = ({array}, {part}) fusion(%a, %b, %i), kind=kLoop, calls=%both""",
    bodies=body,
  )
  assert found == traffic.Traffic(1024 + F32, 2 * 1024)


def test_an_update_of_what_a_fusion_computes_writes_it_all():
  array, part = "f32[64,256]{1,0}", "f32[1,256]{1,0}"
  body = f"""%f (p: f32[]) -> f32[] {{
%p0 = {array} parameter(0)
%p1 = {part} parameter(1)
%z = s32[] constant(0)
%n = {array} negate(%p0)
ROOT %u = {array} dynamic-update-slice(%n, %p1, %z, %z)
}}
"""
  found = moved(
    f"""%a = {array} parameter(0)
%b = {part} parameter(1)
ROOT %r = {array} fusion(%a, %b), kind=kLoop, calls=%f""",
    bodies=body,
  )
  assert found == traffic.Traffic(65 * 1024, 64 * 1024)


def test_gathers_and_scatters_count_their_rows():
  table, rows, index = "f32[64,256]{1,0}", "f32[4,256]{1,0}", "s32[4,1]{1,0}"
  parameters = f"""%a = {table} parameter(0)
%i = {index} parameter(1)
%r = {rows} parameter(2)
"""
  found = moved(f"{parameters}ROOT %g = {rows} gather(%a, %i)")
  assert found == traffic.Traffic(4 * 1024 + 4 * F32, 4 * 1024)
  found = moved(
    f"{parameters}ROOT %s = {table} scatter(%a, %i, %r), to_apply=%add"
  )
  # What is added to is read, too.
  assert found == traffic.Traffic(2 * 4 * 1024 + 4 * F32, 4 * 1024)


def test_collectives_that_are_started_count_once():
  part, whole = "f32[2,128]{1,0}", "f32[8,128]{1,0}"
  both = f"({part}, {whole})"
  for start, result in (
    (f"{both} all-gather-start(%p)", 4),
    (f"({part}, {part}, u32[], u32[]) collective-permute-start(%p)", 1),
    (f"{part} all-reduce-start(%p)", 1),
    (f"(({part}), {part}) all-reduce-start(%p)", 1),
    (f"(({part}), {part}, u32[]) copy-like-start(%p)", 1),
  ):
    name = start.partition("-start")[0].rpartition(" ")[2]
    found = moved(
      f"""%p = {part} parameter(0)
%s = {start}
ROOT %d = {part} {name}-done(%s)"""
    )
    assert found == traffic.Traffic(1024, result * 1024), start


def test_a_computation_of_another_thread_ends_where_its_thread_is_named():
  assert moved(
    """%x = f32[256] parameter(0)
%s = ((f32[256]), f32[256], u32[]) async-start(%x), calls=%work
ROOT %d = f32[256] async-done(%s)""",
    bodies="""%work (p: f32[256]) -> f32[256] {
  %p = f32[256] parameter(0)
  ROOT %n = f32[256] negate(%p)
}, execution_thread="sparsecore"
""",
  ) == traffic.Traffic(1024, 1024)


def test_what_cannot_be_read_is_refused():
  for text, message in (
    ("", "no ENTRY"),
    ("ENTRY %main {\nROOT %a = f32[2] negate[%b]\n}", "no instruction"),
    ("ENTRY %main {\nsomething else\n}", "no instruction"),
  ):
    with pytest.raises(ValueError, match=message):
      hlo.parse(text)
  with pytest.raises(ValueError, match="unknown type: 'q7'"):
    hlo.arrays("q7[2,3]")
  nothing = "ENTRY %m {\n%p = f32[] parameter(0)\nROOT %c = f32[] call(%p)\n}"
  with pytest.raises(ValueError, match="runs no known computation"):
    kernels.list_kernels(hlo.parse(nothing))


def test_shapes_in_their_parts():
  assert hlo.split("f32[2,3]{1,0}") == ["f32[2,3]{1,0}"]
  assert hlo.split("((f32[2,3]{1,0:T(8,128)}), /*index=1*/u32[])") == [
    "(f32[2,3]{1,0:T(8,128)})",
    "u32[]",
  ]
  (packed,) = hlo.arrays("s4[10]{0:E(4)}")
  assert (packed.bytes, packed.elements) == (5, 10)
  (bounded,) = hlo.arrays("f32[<=8,2]{1,0}")
  assert bounded.bytes == math.prod((8, 2, F32))
