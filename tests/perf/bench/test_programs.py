"""Compiled programs as reports, tables and a page."""

import dataclasses
import json
import pathlib
import shlex

import jax
import pytest

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import accelerators
from mn_jax.perf.bench import (
  own_step,
  program_page,
  program_tables,
  programs,
  suite,
)
from mn_jax.perf.program import targets
from mn_jax.tools import bench as bench_tool
from tests.perf.bench import toy_case

FLOORS = ("nothing fused", "as XLA fuses", "perfectly fused")


def measure(mode="infer", model="simple_cnn", **reading):
  case = dataclasses.replace(
    toy_case.make(resolution=16), model=model, mode=mode, batch=2
  )
  return programs.measure(
    case,
    own_step.config_of(case),
    programs.Reading(**{"chip": "cpu", **reading}),
  )


def sums(rows):
  return [
    sum(row[name] for row in rows) for name in ("kernels", "read", "written")
  ]


def test_a_program_is_read_kept_and_read_again(tmp_path):
  kept = tmp_path / "step.hlo.gz"
  found = measure(top=2, keep=kept)
  ours = found["ours"]
  for rows in ("kinds", "parts", "layers"):
    total = [ours["kernels"], ours["read"], ours["written"]]
    assert sums(ours[rows]) == total
  parts = {row["part"] for row in ours["parts"]}
  assert {"convolution", "dense", "input"} <= parts
  assert len(ours["largest"]) == 2
  assert ours["flops"] > 0
  assert ours["memory"]["arguments"] > 0
  assert tuple(found["floors"]) == FLOORS
  again = measure(text=kept, old={**found, "of": "program"})
  assert again["ours"]["read"] == ours["read"]
  assert again["ours"]["memory"] is None
  compared = again["differences"]["before"]["layers"]
  assert {row["bytes"] for row in compared} == {0}
  (before, *_) = program_tables.notes(again)
  assert before == "before: simple_cnn, 16 px, batch 2, float32 on cpu, infer"
  tables = dict(program_tables.of_report(again, layers=True))
  assert "mn_jax minus before: layers" in tables
  assert "mn_jax: layers, MB an image" in tables


def test_a_kept_program_is_that_of_the_flags(tmp_path):
  kept = tmp_path / "step.hlo"
  measure(keep=kept)
  text = kept.read_text()
  for change, message in (
    ({"batch": 4}, r"takes u8\[2,16,16,3\]; .* u8\[4,16,16,3\], infer, cpu"),
    ({"resolution": 32}, r"takes u8\[2,16,16,3\]; .* u8\[2,32,32,3\]"),
    ({"mode": "train"}, "a program that infers; valid: with the flags"),
  ):
    case = dataclasses.replace(
      toy_case.make(resolution=16), model="simple_cnn", mode="infer", batch=2
    )
    case = dataclasses.replace(case, **change)
    with pytest.raises(InputError, match=message):
      programs.measure(
        case, own_step.config_of(case), programs.Reading("cpu", text=kept)
      )
  for mark in ("operation_queue_id", "estimated_cycles"):
    kept.write_text(f'// "{mark}"\n{text}')
    with pytest.raises(InputError, match="is of another platform"):
      measure(text=kept)


def test_a_program_is_not_compiled_for_a_file_that_cannot_be(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(own_step, "lower", None)
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file" / "step.hlo", tmp_path):
    with pytest.raises(InputError, match=r"--keep: got .* cannot be written"):
      measure(keep=path)


@pytest.mark.extended
def test_training_beside_plain_flax():
  # Optax mixes dtypes, which the tests forbid elsewhere.
  with jax.numpy_dtype_promotion("standard"):
    found = measure("train", "mobilenet_v1", peers=("plain-jax",))
  parts = {
    (row["part"], row["direction"])
    for row in found["ours"]["parts"]
    if row["read"]
  }
  for part in ("depthwise", "pointwise", "norm"):
    assert {(part, "forward"), (part, "backward")} <= parts
  assert ("update", "") in parts
  peer = {row["part"] for row in found["peers"]["plain-jax"]["parts"]}
  assert {"convolution", "norm", "dense", "update"} <= peer
  titles = [title for title, _ in program_tables.of_report(found)]
  assert "mn_jax minus plain-jax: parts" in titles


@pytest.mark.parametrize("name", ["H200", "v5e"])
def test_chips_that_are_not_there(name):
  chip = accelerators.ACCELERATORS[name]
  if targets.can_compile(chip):
    found = measure(chip=name)
    assert found["ours"]["kernels"] > 5
    assert found["chip"] == name
  else:
    with pytest.raises(InputError, match=rf"compiling for {name}: got no"):
      measure(chip=name)


def test_mistakes_are_one_line(tmp_path, capsys):
  report = tmp_path / "report.json"
  report.write_text(json.dumps({"of": "model"}))
  short = tmp_path / "short.json"
  short.write_text(json.dumps(program_page.compact(report_of(3, "abc"))))
  text = tmp_path / "text.hlo"
  text.write_text("HloModule nothing")
  for arguments, message in (
    (("--chip=H300",), "--chip: invalid choice"),
    ((f"--compare={report}",), "which is of 'model'; valid: what --of=program"),
    ((f"--compare={short}",), "cannot be read (KeyError('layers'))"),
    ((f"--text={text}",), "no ENTRY computation"),
    ((f"--text={text}", "--registers"), "--text: got it with --keep or"),
    (("--registers",), "--registers: got it with --chip=cpu; valid: with a"),
    (("--peer=timm-eager",), "'timm-eager' with --of=program; valid: plain"),
    (("--peer=plain-jax", "--model=resnet18"), "--peer: plain-jax has no"),
    (
      ("--config=configs/idc_v1.py", "--batch-size=2"),
      "--batch-size: got it with --config; valid: train.batch_size=VALUE",
    ),
    (
      ("--config=configs/idc_v1.py", "--peer=plain-jax", "model.width=0.5"),
      "--peer: got plain-jax, whose mobilenet_v1 has 3,209,026 parameters, ",
    ),
  ):
    size = () if "--config" in arguments[0] else ("--resolution=16",)
    assert bench_tool.main(("--of=program", *size, *arguments)) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


def report_of(kernels: int, revision: str) -> dict:
  row = {"kernels": kernels, "read": 2_000_000 * kernels, "written": 0}
  ours = {
    **row,
    "cycles": 0,
    "kinds": [{"kind": "loop fusion", **row}],
    "parts": [{"part": "norm", "direction": "forward", **row}],
    "layers": [],
    "largest": [],
  }
  return {
    "of": "program",
    "case": {
      **dataclasses.asdict(toy_case.make(resolution=50)),
      "batch": 2,
      "mode": "train",
    },
    "chip": "cpu",
    "ours": ours,
    "peers": {"plain-jax": ours},
    "differences": {},
    "floors": dict(zip(FLOORS, (3e6, 2e6, 1e6), strict=True)),
    "versions": {"jax": "0.12.0"},
    "machine": {"date": "2026-01-02 03:04 UTC", "revision": revision},
  }


def test_every_number_is_in_its_cell():
  page = program_page.render(
    pathlib.Path("docs/benchmarks/toy.md"),
    "the command",
    {"--of=program --a": report_of(3, "abc"), "--of=program --b": {}},
    {"--of=program --a": report_of(6, "def"), "--of=program --b": {}},
  )
  lines = page.splitlines()
  name = "mobilenet_v1, 50 px, batch 2, train, float32"
  for line in (
    "## cpu",
    f"| {name} | 6 | 3 | 6.00 | 3.00 | -50 % | 3.00 | 2.00 | 1.00 | 3.00 |",
    "| loop fusion | 6 | 6.00 | 3 | 3.00 | 3 | 3.00 |",
    "| norm forward | 6 | 6.00 | 3 | 3.00 | 3 | 3.00 |",
    "- before: revision def",
    "- after: revision abc",
    "- not compiled: `--of=program --b` (not yet)",
  ):
    assert line in lines, line


def test_readings_of_an_earlier_revision_are_kept(tmp_path, monkeypatch):
  case = ("--of=program", "--model=mobilenet_v1")
  monkeypatch.setitem(suite.CASES, "programs", [case])
  monkeypatch.setattr(suite, "measure", lambda arguments: report_of(3, "abc"))
  earlier = tmp_path / "earlier.json"
  earlier.write_text(json.dumps({shlex.join(case): report_of(6, "def")}))
  path = tmp_path / "programs.md"
  for before in (earlier, None):
    suite.run(
      path, "programs", Console(quiet=True), only="", rest=[], before=before
    )
    assert "| 6 | 3 | 6.00 | 3.00 | -50 % |" in path.read_text()
  kept = json.loads(path.with_suffix(".json").read_text())
  assert len(kept) == 2
  for name in ("layers", "largest"):
    assert all(name not in reading["ours"] for reading in kept.values())


def test_the_case_of_an_experiment_has_the_classes_of_its_data():
  config = files.load_config("configs/idc_v1.py", ["optim.accumulate=2"])
  case = programs.case_of(config, toy_case.make(resolution=16))
  assert config.data.classes == 0
  assert (case.classes, case.resolution) == (2, 50)
