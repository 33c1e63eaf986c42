"""Bytes moved, of programs whose lines are written by hand."""

import jax
import jax.numpy as jnp
import pytest

from mn_jax.perf.scaling.planning import cycles, hlo, traffic

MIB = 2**20


def moved(text: str) -> int:
  return traffic.count(hlo.parse(text))


@pytest.mark.parametrize(
  ("shape", "plain", "padded", "space"),
  [
    ("f32[8,128]{1,0:T(8,128)}", 4096, 4096, 0),
    ("bf16[8,32]{1,0:T(8,128)(2,1)}", 512, 2048, 0),
    # Batch innermost: channels are the sublanes, and nothing is padded.
    ("bf16[128,4,4,8]{0,3,2,1:T(8,128)(2,1)S(1)}", 32768, 32768, 1),
    ("f32[]{:T(128)S(6)}", 4, 4, 6),
    ("u8[3,5]", 15, 15, 0),
    ("pred[7]{0:T(512)}", 7, 512, 0),
  ],
)
def test_arrays_by_their_shapes(shape, plain, padded, space):
  assert hlo.arrays(shape) == [hlo.Array(plain, padded, space)]


def test_a_tuple_has_several_arrays_and_tokens_are_none():
  shape = "(f32[2]{0}, /*index=1*/bf16[4]{0}, token[])"
  assert [array.bytes for array in hlo.arrays(shape)] == [8, 8]


def test_a_compiled_sum_reads_its_operands_and_writes_its_result():
  size = 1024
  array = jax.ShapeDtypeStruct((size, size), jnp.float32)
  text = jax.jit(lambda x, y: x + 2 * y).lower(array, array).compile().as_text()
  assert moved(text) == 3 * size * size * 4


def test_a_compiled_loop_counts_its_turns():
  array = jax.ShapeDtypeStruct((256, 256), jnp.float32)

  def program(turns):
    def loop(x):
      return jax.lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) @ y, x)

    return moved(jax.jit(loop).lower(array).compile().as_text())

  assert program(30) == pytest.approx(10 * program(3), rel=0.1)


def test_what_lies_in_the_chip_costs_nothing():
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


def test_of_branches_the_dearest_counts():
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
  assert cycles.count(hlo.parse(text)) == 5 * 10 + 10 + 100
