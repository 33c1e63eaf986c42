"""Collectives of compiled programs: of four CPU devices, and of TPUs' text."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from mn_jax.parallel import mesh as mesh_lib
from mn_jax.perf.scaling.planning import collectives, hlo
from mn_jax.perf.scaling.planning.collectives import Collective, Total


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
  (found,) = collectives.read(hlo.parse(text), 4)
  return found


def test_a_sum_over_devices():
  found = one(lambda x: jax.lax.psum(x, "data"), (8, 5), out_specs=P())
  # Each device has two rows.
  assert found == Collective("all-reduce", 2 * 5 * 4, 4, False, 1)


def test_a_gathered_array_counts_whole():
  found = one(
    lambda x: jax.lax.all_gather(x, "data", tiled=True), (8, 5), out_specs=P()
  )
  assert found == Collective("all-gather", 8 * 5 * 4, 4, False, 1)


def test_a_scattered_sum_counts_whole():
  found = one(lambda x: jax.lax.psum_scatter(x, "data", tiled=True), (16, 5))
  assert found == Collective("reduce-scatter", 4 * 5 * 4, 4, False, 1)


def test_a_permutation():
  pairs = [(i, (i + 1) % 4) for i in range(4)]
  found = one(lambda x: jax.lax.ppermute(x, "data", pairs), (8, 5))
  assert (found.kind, found.bytes) == ("collective-permute", 2 * 5 * 4)


def test_an_exchange():
  found = one(lambda x: jax.lax.all_to_all(x, "data", 1, 1, tiled=True), (8, 4))
  assert (found.kind, found.bytes) == ("all-to-all", 2 * 4 * 4)


def test_a_loop_counts_every_turn():
  def loop(x):
    def body(total, _):
      return jnp.sin(jax.lax.psum(total, "data")), None

    return jax.lax.scan(body, x, None, length=7)[0]

  found = one(loop, (8, 5))
  assert found.times == 7
  assert collectives.totals([found]) == (
    Total("all-reduce", 7, 7 * 2 * 5 * 4, False),
  )


def test_several_arrays_in_one_operation():
  text = """
HloModule several, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main (p: f32[8,128], q: bf16[32]) -> (f32[8,128], bf16[32]) {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  %q = bf16[32]{0:T(256)(128)(2,1)} parameter(1)
  %all-reduce.1 = (f32[8,128]{1,0:T(8,128)}, bf16[32]{0:T(256)(128)(2,1)}) \
all-reduce(%p, %q), channel_id=1, replica_groups=[2,8]<=[16], to_apply=%add
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%all-reduce.1), index=0
  %y = bf16[32]{0} get-tuple-element(%all-reduce.1), index=1
  ROOT %t = (f32[8,128]{1,0}, bf16[32]{0}) tuple(%x, %y)
}
"""
  assert collectives.read(hlo.parse(text), 16) == [
    Collective("all-reduce", 8 * 128 * 4 + 32 * 2, 8, False, 1)
  ]


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


@pytest.mark.parametrize(
  ("between", "overlapped"),
  [
    ("", False),
    ("%c = f32[8,128]{1,0} copy(%q)", False),
    ("%f = f32[8,128]{1,0} fusion(%q), kind=kLoop, calls=%g", True),
    ("%f = f32[8,128]{1,0} convolution(%q, %q), window={}", True),
  ],
)
def test_work_between_start_and_done_overlaps(between, overlapped):
  (found,) = collectives.read(hlo.parse(ASYNC.format(between=between)), 4)
  assert found == Collective("all-reduce", 8 * 128 * 4, 4, overlapped, 1)


def test_a_split_gather_has_its_result_second():
  text = """
ENTRY %main (p: f32[2,128]) -> f32[8,128] {
  %p = f32[2,128]{1,0} parameter(0)
  %all-gather-start = (f32[2,128]{1,0}, f32[8,128]{1,0}) all-gather-start(%p), \
replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %all-gather-done = f32[8,128]{1,0} all-gather-done(%all-gather-start)
}
"""
  (found,) = collectives.read(hlo.parse(text), 4)
  assert found == Collective("all-gather", 8 * 128 * 4, 4, False, 1)


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
  (found,) = collectives.read(hlo.parse(text), 4)
  assert found == Collective("reduce-scatter", 8 * 128 * 4, 4, True, 1)


def test_groups_named_by_the_axes_of_a_mesh():
  text = """
ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %r = f32[8]{0} all-reduce(%p), \
replica_groups=mesh['data'=4,'other'=2] {'data'}, to_apply=%add
}
"""
  (found,) = collectives.read(hlo.parse(text), 8)
  assert found.group_size == 4


def test_one_device_alone_is_no_collective():
  text = """
ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %r = f32[8]{0} all-reduce(%p), replica_groups={{0},{1}}, to_apply=%add
}
"""
  assert collectives.read(hlo.parse(text), 2) == []
  assert collectives.totals([]) == ()


def test_totals_keep_overlapped_ones_apart():
  found = [
    Collective("all-reduce", 100, 4, False, 2),
    Collective("all-reduce", 10, 4, True, 1),
    Collective("all-reduce", 1, 4, False, 1),
  ]
  assert collectives.totals(found) == (
    Total("all-reduce", 3, 201, False),
    Total("all-reduce", 1, 10, True),
  )
