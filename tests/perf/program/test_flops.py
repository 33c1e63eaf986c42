"""FLOPs of a program's products, by hand and against XLA's own count."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mn_jax.perf.program import flops, hlo

# Lines as XLA's compiler for GPUs writes them, shortened.
FUSED = """
%gemm_fusion_dot (p0: bf16[64,32], p1: bf16[32,16]) -> bf16[64,16] {
  %p0 = bf16[64,32]{1,0} parameter(0)
  %p1 = bf16[32,16]{1,0} parameter(1)
  ROOT %dot.1 = bf16[64,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, backend_config={"sizes":["16"]}
}

%body (p: (s32[], bf16[64,32])) -> (s32[], bf16[64,32]) {
  %p = (s32[], bf16[64,32]{1,0}) parameter(0)
  %x = bf16[64,32]{1,0} get-tuple-element(%p), index=1
  %k = bf16[32,16]{1,0} constant({...})
  %f = bf16[64,16]{1,0} fusion(%x, %k), kind=kCustom, calls=%gemm_fusion_dot
  %i = s32[] get-tuple-element(%p), index=0
  ROOT %t = (s32[], bf16[64,32]{1,0}) tuple(%i, %x)
}

%condition (p: (s32[], bf16[64,32])) -> pred[] {
  %p = (s32[], bf16[64,32]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(5)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (a: bf16[64,32]) -> (s32[], bf16[64,32]) {
  %a = bf16[64,32]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %t = (s32[], bf16[64,32]{1,0}) tuple(%zero, %a)
  ROOT %w = (s32[], bf16[64,32]{1,0}) while(%t), condition=%condition, \
body=%body
}
"""
CALL = """
ENTRY %main () -> bf16[] {{
  %a = {0} parameter(0)
  %b = {1} parameter(1)
  %call = ({2}, u8[0]{{0}}) custom-call(%a, %b), {3}
  ROOT %r = {2} get-tuple-element(%call), index=0
}}
"""
IMAGE, KERNEL = "bf16[8,10,10,6]{3,2,1,0}", "bf16[4,3,3,6]{3,2,1,0}"
OUTPUT = "bf16[8,5,5,4]{3,2,1,0}"
ONE_PASS = 2 * (8 * 5 * 5 * 4) * (3 * 3 * 6)


def test_products_in_fusions_count_in_every_iteration_of_a_loop():
  assert flops.products(hlo.parse(FUSED)) == 5 * 2 * 64 * 32 * 16


@pytest.mark.parametrize(
  ("target", "first", "second", "result"),
  [
    ("convForward", IMAGE, KERNEL, OUTPUT),
    ("convBiasActivationForward", IMAGE, KERNEL, OUTPUT),
    ("convBackwardInput", OUTPUT, KERNEL, IMAGE),
    ("convBackwardFilter", IMAGE, OUTPUT, KERNEL),
  ],
)
def test_the_passes_of_a_cudnn_convolution_cost_the_same(
  target, first, second, result
):
  text = CALL.format(
    first,
    second,
    result,
    "window={size=3x3 stride=2x2 pad=0_1x0_1}, dim_labels=b01f_o01i->b01f, "
    f'custom_call_target="__cudnn${target}", backend_config={{}}',
  )
  assert flops.products(hlo.parse(text)) == ONE_PASS


def test_a_call_of_cublas():
  text = CALL.format(
    "f32[32,64]{1,0}",
    "f32[32,16]{1,0}",
    "f32[64,16]{1,0}",
    'custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
    '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["0"],'
    '"rhs_contracting_dimensions":["0"]}}}',
  )
  assert flops.products(hlo.parse(text)) == 2 * 64 * 32 * 16


def test_a_kernel_of_pallas_has_the_flops_that_it_says():
  target = 'custom_call_target="__gpu$xla.gpu.triton"'
  text = CALL.format(IMAGE, KERNEL, OUTPUT, target)
  assert flops.products(hlo.parse(text)) == 0
  said = r'backend_config={serialized_metadata = "{\22flops\22: \2242\22}"}'
  text = CALL.format(IMAGE, KERNEL, OUTPUT, f"{target}, {said}")
  assert flops.products(hlo.parse(text)) == 42


def test_a_call_of_something_else_is_no_product():
  text = CALL.format(IMAGE, KERNEL, OUTPUT, 'custom_call_target="Sharding"')
  assert flops.products(hlo.parse(text)) == 0


def test_products_against_the_count_of_xla():
  """Without padding and other arithmetic both count the same."""

  def forward(x, kernel, depthwise, dense):
    def convolve(x, kernel, groups=1, stride=1):
      return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
      )

    x = convolve(convolve(x, kernel), depthwise, groups=8, stride=2)
    return x.reshape(len(x), -1) @ dense

  shapes = ((2, 12, 12, 3), (3, 3, 3, 8), (3, 3, 1, 8), (4 * 4 * 8, 10))
  lowered = jax.jit(forward).lower(
    *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
  )
  program = hlo.parse(lowered.as_text(dialect="hlo"))
  assert flops.products(program) == lowered.cost_analysis()["flops"]
