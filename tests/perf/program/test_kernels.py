"""Kinds and places of kernels, and sums of programs."""

import pytest

from mn_jax.models.counting import Layer
from mn_jax.perf.program import hlo, kernels, summary
from mn_jax.perf.program.places import Place

F = "f32[8,8]{1,0}"


def instruction(text: str, bodies: str = "") -> kernels.Kernel:
  program = hlo.parse(
    f"{bodies}\nENTRY %main {{\n%p = {F} parameter(0)\nROOT %r = {text}\n}}"
  )
  (kernel,) = kernels.list_kernels(program)
  return kernel


def fusion(
  *lines: str, attributes: str = "kind=kLoop", name: str = ""
) -> kernels.Kernel:
  first = f"%b (p: f32[]) -> f32[] {{\n%p0 = {F} parameter(0)"
  body = "\n".join((first, *lines))
  metadata = f', metadata={{op_name="{name}"}}' if name else ""
  return instruction(
    f"{F} fusion(%p), {attributes}, calls=%b{metadata}", f"{body}\n}}\n"
  )


def test_kinds_of_calls_and_operations():
  for text, kind in (
    (f"{F} copy(%p)", "copy, cast or transpose"),
    (f"{F} dot(%p, %p)", "matrix product"),
    (f"{F} convolution(%p, %p), window={{}}", "convolution"),
    (f"{F} all-reduce(%p), to_apply=%add", "collective"),
    (f"{F} sort(%p)", "gather, scatter or sort"),
    (f"{F} add(%p, %p)", "single operation"),
  ):
    assert instruction(text).kind == kind, text
  for target, kind in (
    ("__cudnn$convForward", "cuDNN forward"),
    ("__cudnn$convBackwardInput", "cuDNN input gradient"),
    ("__cublas$gemm", "cuBLAS product"),
    ("__gpu$xla.gpu.triton", "Pallas kernel"),
    ("tpu_custom_call", "Pallas kernel"),
    ("TopK", "call of TopK"),
  ):
    text = f'{F} custom-call(%p), custom_call_target="{target}"'
    assert instruction(text).kind == kind, text


def test_kinds_of_fusions():
  product = f"ROOT %d = {F} dot(%p0, %p0)"
  reduction = f"ROOT %d = {F} reduce(%p0, %z), to_apply=%add"
  gpu = 'kind=k{}, backend_config={{"operation_queue_id":"0"}}'
  triton = 'backend_config={"fusion_backend_config":{"kind":"__triton"}}'
  for line, attributes, kind in (
    (f"ROOT %d = {F} negate(%p0)", "kind=kLoop", "loop fusion"),
    (f"ROOT %d = {F} transpose(%p0)", "kind=kInput", "copy, cast or transpose"),
    (product, "kind=kOutput", "matrix product"),
    (reduction, "kind=kLoop", "reduce fusion"),
    (reduction, gpu.format("Input"), "reduce fusion"),
    # Within a loop of a GPU it is no reduction of its own.
    (reduction, gpu.format("Loop"), "copy, cast or transpose"),
    (reduction, f"kind=kCustom, {triton}", "Triton fusion"),
  ):
    zero = "%z = f32[] constant(0)"
    assert fusion(zero, line, attributes=attributes).kind == kind, line


def test_places_from_names():
  forward = "jit(step)/jvp(Classifier)"
  backward = "jit(step)/transpose(jvp(Classifier))"
  block = "Classifier._maps/backbone/block3"
  for name, layer, direction in (
    (f"{forward}/{block}/norm/mul", "backbone/block3/norm", "forward"),
    (
      f"{backward}/{block}/conv/cond/branch_0_fun/dot",
      "backbone/block3/conv",
      "backward",
    ),
    (f"{forward}/reduce_sum", "network", "forward"),
    ("jit(f)/Classifier/head/logits/jit(relu)/max", "head/logits", "forward"),
    ("jit(step)/jvp(MobileNet)/BatchNorm_2/add", "BatchNorm_2", "forward"),
    ("jit(step)/transpose(jvp())/mul", "loss", "backward"),
    ("jit(step)/mul;jit(step)/jvp()/add", "update", ""),
  ):
    # A second instruction tells that the program trains.
    line = f'ROOT %d = {F} negate(%p0), metadata={{op_name="jit(s)/jvp()/neg"}}'
    if name.startswith("jit(f)"):
      line = f"ROOT %d = {F} negate(%p0)"
    assert fusion(line, name=name).place == Place(layer, direction), name


FRAMES = """FileNames
1 "/here/mn_jax/train/step.py"
2 "/here/mn_jax/augment/inputs.py"

FunctionNames
1 "train_step"
2 "to_input"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1 end_line=1 column=1 end_column=2}
2 {file_name_id=2 function_name_id=2 line=1 end_line=1 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}

"""


def test_the_input_is_where_augment_was_on_the_stack():
  program = hlo.parse(
    f"""{FRAMES}
ENTRY %main {{
%p = {F} parameter(0)
%a = {F} negate(%p), metadata={{op_name="jit(s)/jvp()/neg" stack_frame_id=2}}
%b = {F} negate(%a), metadata={{op_name="jit(s)/jvp()/neg" stack_frame_id=1}}
ROOT %c = {F} copy(%b)
}}"""
  )
  assert program.frames[2] == (
    ("/here/mn_jax/augment/inputs.py", "to_input"),
    ("/here/mn_jax/train/step.py", "train_step"),
  )
  found = [kernel.place for kernel in kernels.list_kernels(program)]
  # Without a name it belongs to where its operand is from.
  loss = Place("loss", "forward")
  assert found == [Place("input"), loss, loss]


def summarize(opcode: str, count: int) -> dict:
  lines = [f"%p0 = {F} parameter(0)"]
  lines += [f"%p{i + 1} = {F} {opcode}(%p{i})" for i in range(count)]
  lines[-1] = f"ROOT {lines[-1]}"
  body = "\n".join(lines)
  return summary.summarize(f"ENTRY %main {{\n{body}\n}}", top=1)


def test_sums_and_differences_of_programs():
  size = 8 * 8 * 4
  found = summarize("copy", 3)
  assert (found["kernels"], found["read"], found["written"]) == (
    *(3, 3 * size, 3 * size),
  )
  (kind,) = found["kinds"]
  assert kind["kind"] == "copy, cast or transpose"
  assert kind["read"] == 3 * size
  assert [kernel["name"] for kernel in found["largest"]] == ["p1"]
  assert found["not_counted"] == []
  other = summarize("negate", 1)
  compared = summary.differences({**found, "batch": 2}, {**other, "batch": 1})[
    "kinds"
  ]
  assert [(row["kind"], row["bytes"]) for row in compared] == [
    ("copy, cast or transpose", 3 * size),
    ("single operation", -2 * size),
  ]
  assert compared[0]["new"]["read"] == pytest.approx(3 * size / 2)
  assert compared[0]["old"]["kernels"] == 0


def test_scopes_within_a_layer_belong_to_it():
  path = "backbone/block0/depthwise/conv"
  layer = Layer(path, "depthwise 3x3", (4, 4, 8), (4, 4, 8), {})
  name = f"jit(step)/jvp(Classifier)/{path}/depthwise/pallas_call"
  text = (
    f"ENTRY %main {{\n%p = {F} parameter(0)\n"
    f'ROOT %n = {F} negate(%p), metadata={{op_name="{name}"}}\n}}'
  )
  found = summary.summarize(text, layers=[layer])
  assert [row["layer"] for row in found["layers"]] == [path]
  assert [row["part"] for row in found["parts"]] == ["depthwise"]


def test_loops_that_do_not_say_how_often_they_run_are_named():
  body = f"""%body (p: f32[]) -> f32[] {{
%q = {F} parameter(0)
ROOT %n = {F} negate(%q)
}}
%until (p: f32[]) -> pred[] {{
%q = {F} parameter(0)
ROOT %c = pred[] custom-call(%q), custom_call_target="any"
}}
"""
  loop = f"{F} while(%p), condition=%until, body=%body"
  main = f"ENTRY %main {{\n%p = {F} parameter(0)\nROOT %w = {loop}\n}}"
  found = summary.summarize(body + main)
  assert found["loops"] == [{"name": "w", "trips": None, "times": 1}]
  assert found["kernels"] == 1
  (note,) = found["not_counted"]
  assert "1 loops whose number" in note
