"""Costs of compiled programs: of four CPU devices, and of HLO text."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from mn_jax.parallel import mesh as mesh_lib
from mn_jax.perf.scaling.plan import costs, hlo
from mn_jax.perf.scaling.plan.costs import Collective
from mn_jax.perf.scaling.plan.prediction import CollectiveTotal

pytestmark = pytest.mark.devices(4)

MIB = 2**20


def compiled_text(function, *shapes, in_specs, out_specs) -> str:
  mesh = mesh_lib.make_mesh()
  mapped = jax.shard_map(
    function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
  )
  arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return jax.jit(mapped).lower(*arguments).compile().as_text()


SPREAD = P("data")


def one(function, shape, *, out_specs=SPREAD) -> Collective:
  text = compiled_text(function, shape, in_specs=(SPREAD,), out_specs=out_specs)
  (found,) = costs.collective_operations(hlo.parse(text), 4)
  return found


def test_collectives_of_four_devices():
  """Bytes are those of the whole array; each device has two rows of eight."""
  ring = [(i, (i + 1) % 4) for i in range(4)]
  for kind, function, shape, specs, size in (
    ("all-reduce", jax.lax.psum, (8, 5), P(), 2 * 5),
    (
      "all-gather",
      lambda x, axis: jax.lax.all_gather(x, axis, tiled=True),
      (8, 5),
      P(),
      8 * 5,
    ),
    (
      "reduce-scatter",
      lambda x, axis: jax.lax.psum_scatter(x, axis, tiled=True),
      (16, 5),
      SPREAD,
      4 * 5,
    ),
    (
      "collective-permute",
      lambda x, axis: jax.lax.ppermute(x, axis, ring),
      (8, 5),
      SPREAD,
      2 * 5,
    ),
    (
      "all-to-all",
      lambda x, axis: jax.lax.all_to_all(x, axis, 1, 1, tiled=True),
      (8, 4),
      SPREAD,
      2 * 4,
    ),
  ):
    found = one(lambda x, f=function: f(x, "data"), shape, out_specs=specs)
    assert (found.kind, found.bytes, found.times) == (kind, 4 * size, 1)
    if kind not in ("collective-permute", "all-to-all"):
      assert (found.group_size, found.overlapped) == (4, False)


def test_collectives_of_a_loop_count_every_iteration():
  def loop(x):
    def body(total, _):
      return jnp.sin(jax.lax.psum(total, "data")), None

    return jax.lax.scan(body, x, None, length=7)[0]

  found = one(loop, (8, 5))
  assert found.times == 7
  assert costs.totals([found]) == (
    CollectiveTotal("all-reduce", 7, 7 * 2 * 5 * 4, False),
  )


def collectives(text: str, num_devices: int) -> list[Collective]:
  return costs.collective_operations(hlo.parse(text), num_devices)


def test_arrays_and_groups_of_a_collective():
  """Two arrays of 4,096 and 64 bytes in one operation."""
  text = """
ENTRY %main (p: f32[8,128], q: bf16[32]) -> (f32[8,128], bf16[32]) {{
  %p = f32[8,128]{{1,0:T(8,128)}} parameter(0)
  %q = bf16[32]{{0:T(256)(128)(2,1)}} parameter(1)
  %all-reduce.1 = (f32[8,128]{{1,0:T(8,128)}}, bf16[32]{{0:T(256)(128)(2,1)}}) \
all-reduce(%p, %q), channel_id=1, replica_groups={groups}, to_apply=%add
  %x = f32[8,128]{{1,0:T(8,128)}} get-tuple-element(%all-reduce.1), index=0
  ROOT %y = bf16[32]{{0}} get-tuple-element(%all-reduce.1), index=1
}}
"""
  for groups, num_devices, size in (
    ("[2,8]<=[16]", 16, 8),
    ("mesh['data'=4,'other'=2] {'data'}", 8, 4),
    ("{{0,1,2},{3,4,5}}", 6, 3),
  ):
    assert collectives(text.format(groups=groups), num_devices) == [
      Collective("all-reduce", 8 * 128 * 4 + 32 * 2, size, False, 1)
    ]
  # Groups of one device are no collectives.
  assert collectives(text.format(groups="{{0},{1}}"), 2) == []
  assert costs.totals([]) == ()


ASYNC = """
HloModule split, is_scheduled=true

ENTRY %main (p: f32[8,128], q: f32[8,128]) -> f32[8,128] {{
  %p = f32[8,128]{{1,0}} parameter(0)
  %q = f32[8,128]{{1,0}} parameter(1)
  %all-reduce-start.1 = f32[8,128]{{1,0}} all-reduce-start(%p), \
replica_groups={{{{0,1,2,3}}}}, to_apply=%add
  {between}
  %all-reduce-done.1 = f32[8,128]{{1,0}} all-reduce-done(%all-reduce-start.1)
  ROOT %r = f32[8,128]{{1,0}} fusion(%q, %all-reduce-done.1), kind=kLoop, \
calls=%fused
}}
"""


def test_work_between_start_and_done_overlaps():
  for between, overlapped in (
    ("", False),
    ("%c = f32[8,128]{1,0} copy(%q)", False),
    ("%f = f32[8,128]{1,0} fusion(%q), kind=kLoop, calls=%g", True),
    ("%f = f32[8,128]{1,0} convolution(%q, %q), window={}", True),
  ):
    assert collectives(ASYNC.format(between=between), 4) == [
      Collective("all-reduce", 8 * 128 * 4, 4, overlapped, 1)
    ]


def test_the_result_of_an_asynchronous_gather_comes_second():
  text = """
ENTRY %main (p: f32[2,128]) -> f32[8,128] {
  %p = f32[2,128]{1,0} parameter(0)
  %all-gather-start = (f32[2,128]{1,0}, f32[8,128]{1,0}) all-gather-start(%p), \
replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %all-gather-done = f32[8,128]{1,0} all-gather-done(%all-gather-start)
}
"""
  assert collectives(text, 4) == [
    Collective("all-gather", 8 * 128 * 4, 4, False, 1)
  ]


def test_a_wrapped_operation_is_found_where_it_is_called():
  text = """
%wrapped (p: f32[8,128]) -> f32[2,128] {
  %p = f32[8,128]{1,0} parameter(0)
  ROOT %rs = f32[2,128]{1,0} reduce-scatter(%p), replica_groups={{0,1,2,3}}, \
dimensions={0}, to_apply=%add
}

ENTRY %main (p: f32[8,128]) -> f32[2,128] {
  %p = f32[8,128]{1,0} parameter(0)
  %rs-start = ((f32[8,128]{1,0}), f32[2,128]{1,0}, u32[]) async-start(%p), \
calls=%wrapped
  %f = f32[8,128]{1,0} fusion(%p), kind=kLoop, calls=%g
  ROOT %rs-done = f32[2,128]{1,0} async-done(%rs-start)
}
"""
  assert collectives(text, 4) == [
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


def moved(text: str) -> int:
  return costs.memory_traffic(hlo.parse(text))


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
    assert hlo.arrays(shape) == [hlo.Array(plain, padded, space)]
  # A tuple has several, and tokens are none.
  arrays = hlo.arrays("(f32[2]{0}, /*index=1*/bf16[4]{0}, token[])")
  assert [array.bytes for array in arrays] == [8, 8]


def test_a_compiled_sum_reads_its_operands_and_writes_its_result():
  size = 1024
  array = jax.ShapeDtypeStruct((size, size), jnp.float32)
  text = jax.jit(lambda x, y: x + 2 * y).lower(array, array).compile().as_text()
  assert moved(text) == 3 * size * size * 4


def test_a_compiled_loop_counts_its_iterations():
  array = jax.ShapeDtypeStruct((256, 256), jnp.float32)

  def program(turns):
    def loop(x):
      return jax.lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) @ y, x)

    return moved(jax.jit(loop).lower(array).compile().as_text())

  assert program(30) == pytest.approx(10 * program(3), rel=0.1)


def test_arrays_within_the_chip_cost_no_traffic():
  text = """
ENTRY %main (p: f32[512,512]) -> f32[512,512] {
  %p = f32[512,512]{1,0:T(8,128)} parameter(0)
  %in = (f32[512,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, u32[]) \
copy-start(%p)
  %q = f32[512,512]{1,0:T(8,128)S(1)} copy-done(%in)
  %f = f32[512,512]{1,0:T(8,128)S(1)} fusion(%q), kind=kLoop, calls=%inner
  ROOT %g = f32[512,512]{1,0:T(8,128)} fusion(%f), kind=kLoop, calls=%inner
}
"""
  # In by the copy, out by the last fusion.
  assert moved(text) == 2 * MIB


def test_slices_and_updates_count_as_such():
  text = """
%take (p0: f32[64,512,512], i: s32[]) -> f32[1,512,512] {
  %p0 = f32[64,512,512]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %z = s32[] constant(0)
  ROOT %s = f32[1,512,512]{2,1,0} dynamic-slice(%p0, %i, %z, %z)
}

%put (p0: f32[64,512,512], u: f32[1,512,512], i: s32[]) -> f32[64,512,512] {
  %p0 = f32[64,512,512]{2,1,0} parameter(0)
  %u = f32[1,512,512]{2,1,0} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  ROOT %d = f32[64,512,512]{2,1,0} dynamic-update-slice(%p0, %u, %i, %z, %z)
}

ENTRY %main (p: f32[64,512,512], i: s32[]) -> f32[64,512,512] {
  %p = f32[64,512,512]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %a = f32[1,512,512]{2,1,0} fusion(%p, %i), kind=kLoop, calls=%take
  ROOT %b = f32[64,512,512]{2,1,0} fusion(%p, %a, %i), kind=kLoop, calls=%put
}
"""
  # A slice read and written; an update read and written; some scalars.
  assert moved(text) == pytest.approx(4 * MIB, abs=100)


def test_the_most_expensive_branch_counts():
  text = """
%cheap (p0: f32[512,512]) -> f32[512,512] {
  ROOT %p0 = f32[512,512]{1,0} parameter(0)
}

%dear (p1: f32[512,512]) -> f32[512,512] {
  %p1 = f32[512,512]{1,0} parameter(0)
  ROOT %n = f32[512,512]{1,0} negate(%p1)
}

ENTRY %main (i: s32[], p: f32[512,512]) -> f32[512,512] {
  %i = s32[] parameter(0)
  %p = f32[512,512]{1,0} parameter(1)
  ROOT %c = f32[512,512]{1,0} conditional(%i, %p, %p), \
branch_computations={%cheap, %dear}
}
"""
  assert moved(text) == 2 * MIB


def test_cycles_of_loops_and_branches():
  text = """
%body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %f = f32[8]{0} fusion(%p), backend_config={"estimated_cycles":"10"}
}

%until (p: f32[8]) -> pred[] {
  %p = f32[8]{0} parameter(0)
  %limit = s32[] constant(5)
  ROOT %c = pred[] compare(%p, %limit), direction=LT
}

%small (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %f = f32[8]{0} fusion(%p), backend_config={"estimated_cycles":"3"}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %w = f32[8]{0} while(%p), condition=%until, body=%body
  %b = f32[8]{0} conditional(%p, %w), branch_computations={%body, %small}
  ROOT %f = f32[8]{0} fusion(%b), backend_config={"estimated_cycles":"100"}
}
"""
  assert costs.cycles(hlo.parse(text)) == 5 * 10 + 10 + 100
