"""Costs of compiled programs: of four CPU devices, and of HLO text."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from mn_jax.parallel import mesh as mesh_lib
from mn_jax.perf.program import costs, hlo
from mn_jax.perf.program.costs import Collective, CollectiveTotal

pytestmark = pytest.mark.devices(4)

MIB = 2**20
SPREAD = P("data")
# An array of 4,096 bytes, and one of 1 MiB.
A, B = "f32[8,128]{1,0}", "f32[512,512]{1,0}"


def entry(*lines: str) -> str:
  """A program of one computation, or its last one."""
  return "\n".join(("ENTRY %main {", *lines, "}"))


def body(name: str, *lines: str) -> str:
  """A computation of a program."""
  return "\n".join((f"%{name} (p: f32[]) -> f32[] {{", *lines, "}\n"))


def collectives(text: str, num_devices: int = 4) -> list[Collective]:
  return costs.collective_operations(hlo.parse(text), num_devices)


def moved(text: str) -> int:
  return costs.memory_traffic(hlo.parse(text))


def compiled_collective(function, shape, out_specs=SPREAD) -> Collective:
  mapped = jax.shard_map(
    function,
    mesh=mesh_lib.make_mesh(),
    in_specs=SPREAD,
    out_specs=out_specs,
    check_vma=False,
  )
  argument = jax.ShapeDtypeStruct(shape, jnp.float32)
  (found,) = collectives(jax.jit(mapped).lower(argument).compile().as_text())
  return found


def test_collectives_of_four_devices():
  """Bytes are those of the whole array; each device has two rows of eight."""
  permute = partial(lax.ppermute, perm=[(i, (i + 1) % 4) for i in range(4)])
  gather = partial(lax.all_gather, tiled=True)
  scatter = partial(lax.psum_scatter, tiled=True)
  to_all = partial(lax.all_to_all, split_axis=1, concat_axis=1, tiled=True)
  for kind, function, shape, specs, size in (
    ("all-reduce", lax.psum, (8, 5), P(), 2 * 5),
    ("all-gather", gather, (8, 5), P(), 8 * 5),
    ("reduce-scatter", scatter, (16, 5), SPREAD, 4 * 5),
    ("collective-permute", permute, (8, 5), SPREAD, 2 * 5),
    ("all-to-all", to_all, (8, 4), SPREAD, 2 * 4),
  ):
    found = compiled_collective(
      partial(function, axis_name="data"), shape, specs
    )
    assert (found.kind, found.bytes, found.times) == (kind, 4 * size, 1)
    if kind not in ("collective-permute", "all-to-all"):
      assert (found.group_size, found.overlapped) == (4, False)


def test_collectives_of_a_loop_count_every_iteration():
  def loop(x):
    def step(total, _):
      return jnp.sin(lax.psum(total, "data")), None

    return lax.scan(step, x, None, length=7)[0]

  found = compiled_collective(loop, (8, 5))
  assert found.times == 7
  assert costs.totals([found]) == (
    CollectiveTotal("all-reduce", 7, 7 * 2 * 5 * 4, False),
  )


def test_arrays_and_groups_of_a_collective():
  both = "(f32[8,128]{1,0:T(8,128)}, bf16[32]{0:T(256)(128)(2,1)})"

  def program(groups):
    return entry(
      "%p = f32[8,128]{1,0:T(8,128)} parameter(0)",
      "%q = bf16[32]{0:T(256)(128)(2,1)} parameter(1)",
      f"%r = {both} all-reduce(%p, %q), channel_id=1, "
      f"replica_groups={groups}, to_apply=%add",
      "ROOT %y = bf16[32]{0} get-tuple-element(%r), index=1",
    )

  for groups, num_devices, size in (
    ("[2,8]<=[16]", 16, 8),
    ("mesh['data'=4,'other'=2] {'data'}", 8, 4),
    ("{{0,1,2},{3,4,5}}", 6, 3),
  ):
    assert collectives(program(groups), num_devices) == [
      Collective("all-reduce", 8 * 128 * 4 + 32 * 2, size, False, 1)
    ]
  # Groups of one device are no collectives.
  assert collectives(program("{{0},{1}}"), 2) == []
  assert costs.totals([]) == ()


def test_work_between_start_and_done_overlaps():
  for between, overlapped in (
    ("", False),
    (f"%c = {A} copy(%q)", False),
    (f"%f = {A} fusion(%q), kind=kLoop, calls=%g", True),
    (f"%f = {A} convolution(%q, %q), window={{}}", True),
  ):
    text = entry(
      f"%p = {A} parameter(0)",
      f"%q = {A} parameter(1)",
      f"%all-reduce-start.1 = {A} all-reduce-start(%p), "
      "replica_groups={{0,1,2,3}}, to_apply=%add",
      between,
      f"%all-reduce-done.1 = {A} all-reduce-done(%all-reduce-start.1)",
      f"ROOT %r = {A} fusion(%q, %all-reduce-done.1), calls=%fused",
    )
    assert collectives(text) == [
      Collective("all-reduce", 8 * 128 * 4, 4, overlapped, 1)
    ]


def test_the_result_of_an_asynchronous_gather_comes_second():
  text = entry(
    "%p = f32[2,128]{1,0} parameter(0)",
    f"%all-gather-start = (f32[2,128]{{1,0}}, {A}) all-gather-start(%p), "
    "replica_groups={{0,1,2,3}}, dimensions={0}",
    f"ROOT %all-gather-done = {A} all-gather-done(%all-gather-start)",
  )
  assert collectives(text) == [
    Collective("all-gather", 8 * 128 * 4, 4, False, 1)
  ]


@pytest.mark.parametrize(
  "shape", [A, f"(({A}), {A})", f"(({A}, {A}), ({A}, {A}))"]
)
def test_an_asynchronous_sum_with_and_without_its_operands(shape):
  text = entry(
    f"%p = {A} parameter(0)",
    f"%all-reduce-start.1 = {shape} all-reduce-start(%p), channel_id=2, "
    "replica_groups=mesh['axis_0'=4] {'axis_0'}, to_apply=%add",
    f"ROOT %all-reduce-done.1 = {A} all-reduce-done(%all-reduce-start.1)",
  )
  sums = max(1, shape.count(A) // 2)
  assert collectives(text) == [
    Collective("all-reduce", sums * 8 * 128 * 4, 4, False, 1)
  ]


def test_a_wrapped_operation_is_found_where_it_is_called():
  text = body(
    "wrapped",
    f"%p = {A} parameter(0)",
    "ROOT %rs = f32[2,128]{1,0} reduce-scatter(%p), "
    "replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%add",
  ) + entry(
    f"%p = {A} parameter(0)",
    f"%rs-start = (({A}), f32[2,128]{{1,0}}, u32[]) async-start(%p), "
    "calls=%wrapped",
    f"%f = {A} fusion(%p), kind=kLoop, calls=%g",
    "ROOT %rs-done = f32[2,128]{1,0} async-done(%rs-start)",
  )
  assert collectives(text) == [
    Collective("reduce-scatter", 8 * 128 * 4, 4, True, 1)
  ]


def test_totals_keep_overlapped_ones_apart():
  found = [
    Collective("all-reduce", 100, 4, False, 2),
    Collective("all-reduce", 10, 4, True, 1),
    Collective("all-reduce", 1, 4, False, 1),
  ]
  assert costs.totals(found) == (
    CollectiveTotal("all-reduce", 3, 201, False),
    CollectiveTotal("all-reduce", 1, 10, True),
  )


def test_arrays_by_their_shapes():
  for shape, plain, padded, space in (
    ("f32[8,128]{1,0:T(8,128)}", 4096, 4096, 0),
    ("bf16[8,32]{1,0:T(8,128)(2,1)}", 512, 2048, 0),
    # Batch innermost: channels are the sublanes, and nothing is padded.
    ("bf16[128,4,4,8]{0,3,2,1:T(8,128)(2,1)S(1)}", 32768, 32768, 1),
    ("f32[]{:T(128)S(6)}", 4, 4, 6),
    ("u8[3,5]", 15, 15, 0),
    ("pred[7]{0:T(512)}", 7, 512, 0),
  ):
    (array,) = hlo.arrays(shape)
    found = array.bytes, array.padded_bytes, array.space
    assert found == (plain, padded, space)
  # A tuple has several, and tokens are none.
  arrays = hlo.arrays("(f32[2]{0}, /*index=1*/bf16[4]{0}, token[])")
  assert [array.bytes for array in arrays] == [8, 8]


def test_compiled_programs_read_operands_and_write_results():
  size = 1024
  array = jax.ShapeDtypeStruct((size, size), jnp.float32)
  text = jax.jit(lambda x, y: x + 2 * y).lower(array, array).compile().as_text()
  assert moved(text) == 3 * size * size * 4
  array = jax.ShapeDtypeStruct((256, 256), jnp.float32)

  def loop(turns):
    def repeat(x):
      return lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) @ y, x)

    return moved(jax.jit(repeat).lower(array).compile().as_text())

  assert loop(30) == pytest.approx(10 * loop(3), rel=0.1)


def test_arrays_within_the_chip_cost_no_traffic():
  main, within = "f32[512,512]{1,0:T(8,128)}", "f32[512,512]{1,0:T(8,128)S(1)}"
  text = body(
    "inner",
    f"%p0 = {main} parameter(0)",
    f"ROOT %n = {main} negate(%p0)",
  ) + entry(
    f"%p = {main} parameter(0)",
    f"%in = ({within}, {main}, u32[]) copy-start(%p)",
    f"%q = {within} copy-done(%in)",
    f"%f = {within} fusion(%q), kind=kLoop, calls=%inner",
    f"ROOT %g = {main} fusion(%f), kind=kLoop, calls=%inner",
  )
  # In by the copy, out by the last fusion.
  assert moved(text) == 2 * MIB


def test_slices_and_updates_count_as_such():
  whole, part = "f32[64,512,512]{2,1,0}", "f32[1,512,512]{2,1,0}"
  index = "%z = s32[] constant(0)"
  take = body(
    "take",
    f"%p0 = {whole} parameter(0)",
    *("%i = s32[] parameter(1)", index),
    f"ROOT %s = {part} dynamic-slice(%p0, %i, %z, %z)",
  )
  put = body(
    "put",
    f"%p0 = {whole} parameter(0)",
    f"%u = {part} parameter(1)",
    *("%i = s32[] parameter(2)", index),
    f"ROOT %d = {whole} dynamic-update-slice(%p0, %u, %i, %z, %z)",
  )
  main = entry(
    f"%p = {whole} parameter(0)",
    "%i = s32[] parameter(1)",
    f"%a = {part} fusion(%p, %i), kind=kLoop, calls=%take",
    f"ROOT %b = {whole} fusion(%p, %a, %i), kind=kLoop, calls=%put",
  )
  # A slice read and written; an update read and written; some scalars.
  assert moved(take + put + main) == pytest.approx(4 * MIB, abs=100)


def test_the_most_expensive_branch_counts():
  text = (
    body("cheap", f"ROOT %p0 = {B} parameter(0)")
    + body("dear", f"%p1 = {B} parameter(0)", f"ROOT %n = {B} negate(%p1)")
    + entry(
      "%i = s32[] parameter(0)",
      f"%p = {B} parameter(1)",
      f"ROOT %c = {B} conditional(%i, %p, %p), "
      "branch_computations={%cheap, %dear}",
    )
  )
  assert moved(text) == 2 * MIB


def test_cycles_of_loops_and_branches():
  def fusion(operand, cycles):
    return (
      f"ROOT %f = f32[8]{{0}} fusion({operand}), "
      f'backend_config={{"estimated_cycles":"{cycles}"}}'
    )

  parameter = "%p = f32[8]{0} parameter(0)"
  text = (
    body("body", parameter, fusion("%p", 10))
    + body(
      "until",
      parameter,
      "%limit = s32[] constant(5)",
      "ROOT %c = pred[] compare(%p, %limit), direction=LT",
    )
    + body("small", parameter, fusion("%p", 3))
    + entry(
      parameter,
      "%w = f32[8]{0} while(%p), condition=%until, body=%body",
      "%b = f32[8]{0} conditional(%p, %w), branch_computations={%body, %small}",
      fusion("%b", 100),
    )
  )
  assert costs.cycles(hlo.parse(text)) == 5 * 10 + 10 + 100
