import json
import pathlib
import shlex

import pytest

from mn_jax.commandline import bench_arguments
from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.perf.bench import page, suite
from tests.perf.bench import toy_reports as toy

ROOT = pathlib.Path(__file__).parents[3]
PAGES = ROOT / "docs" / "benchmarks"

NETWORK = (
  "--model=mobilenet_v1",
  "--resolution=50",
  "--batch-size=32",
  "--mode=train",
  "--peer=timm-eager,plain-jax",
)
OPERATIONS = (
  "--of=ops",
  "--model=mobilenet_v1",
  "--resolution=50",
  "--batch-size=8",
)
RUN = ("--of=run", "--config=configs/idc_v1.py:sample")
INPUT = ("--of=input", "--config=configs/idc_v1.py:sample")
REPORTS = {
  shlex.join(NETWORK): toy.NETWORK_REPORT,
  shlex.join(OPERATIONS): toy.OPERATIONS_REPORT,
  shlex.join(RUN): toy.RUN_REPORT,
  shlex.join(INPUT): toy.INPUT_REPORT,
}
CASES = (NETWORK, OPERATIONS, RUN, INPUT)


def rendered(reports):
  found = page.render(
    pathlib.Path("docs/benchmarks/toy.md"),
    "the command",
    {key: reports.get(key, {}) for key in map(shlex.join, CASES)},
  )
  return found.splitlines()


def test_every_number_is_in_its_cell():
  lines = rendered(REPORTS)
  for line in (
    "| mobilenet_v1 | 50 | 32 | train | float32 | 1,234 | 42 "
    "| 1.24 x (1.10-1.40) | not measured |",
    "| mobilenet_v1 | 50 | 32 | train | float32 | 1,234; 7 s; 3 | 2 "
    "| 999; 7 s; 3 | not measured |",
    "- not measured: mobilenet_v1, 50 px, batch 32, float32, plain-jax: "
    "out of luck",
    "| depthwise, forward | layers | floor | one | other | elsewhere |",
    "| 4x4x16 3x3 s1 | 2 | 1.00 | 2.00 (50) | 4.00 (25) | not measured |",
    # One layer of the first shape and two of the second.
    "| all layers | 3 | 3.00 | 6.00 (50) | 12.00 (25) | not measured |",
    "| `--config=configs/idc_v1.py:sample` | 321 | 1.2% | 25.0% | 1:02 | 2:05 "
    "| 1:01 | 7 s | 4 |",
    "| decode | 20 | 10 | 30 |",
    "- measured on: Abacus, 2 cores, Linux, device: cpu",
    "- versions: python 3.11.7 and 3.12.1, jax 0.12.0, torch 2.13.0",
    "- measured: 2026-01-02 03:04 UTC to 2026-01-03 00:00 UTC",
  ):
    assert line in lines, line


def test_missing_and_failed_measurements_are_listed():
  lines = rendered({})
  assert "- measured: nothing yet" in lines
  missing = [line for line in lines if line.startswith("- not measured: `--")]
  assert len(missing) == len(CASES)
  assert not any(line.startswith("|") for line in lines)
  network = shlex.join(NETWORK)
  lines = rendered({network: {"failed": "out of luck"}})
  assert f"- not measured: `{network}` (out of luck)" in lines


@pytest.mark.parametrize("name", ["cpu", "programs"])
def test_the_committed_page_matches_its_reports(name):
  path = PAGES / f"{name}.md"
  reports = json.loads(path.with_suffix(".json").read_text())
  command = (
    f"python -m mn_jax.tools.bench --table={path.relative_to(ROOT)} "
    f"--cases={name}"
  )
  text = suite.page_of(path.relative_to(ROOT), command, name, reports)
  assert path.read_text() == text


def test_flags_of_the_cases_exist():
  for cases in suite.CASES.values():
    assert len(set(cases)) == len(cases)
    for case in cases:
      args = bench_arguments.parser().parse(case)
      if args.config:
        files.load_config(args.config, args.overrides)


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch):
  path = tmp_path / "toy.md"
  asked = []

  def measure(arguments):
    asked.append(arguments)
    return (
      REPORTS[shlex.join(INPUT)]
      if arguments[0] == "--of=input"
      else {"failed": "out of luck"}
    )

  monkeypatch.setattr(suite, "measure", measure)
  monkeypatch.setitem(suite.CASES, "toy", [NETWORK, INPUT])
  write = lambda only: suite.run(  # noqa: E731
    path, "toy", Console(quiet=True), only=only, rest=["--repeats=3"]
  )
  write("of=input")
  assert asked == [[*INPUT, "--repeats=3"]]
  write("")
  write("")
  # What failed is tried again.
  assert asked[1:] == [[*NETWORK, "--repeats=3"]] * 2
  assert "| decode | 20 | 10 | 30 |" in path.read_text()
  write(suite.NONE)
  assert len(asked) == 3


def test_a_file_that_is_no_report_is_left_alone(tmp_path):
  kept = tmp_path / "cpu.json"
  kept.write_text("no report")
  with pytest.raises(InputError, match=r"cpu\.json"):
    suite.run(
      kept.with_suffix(".md"), "cpu", Console(quiet=True), only="", rest=[]
    )
  assert kept.read_text() == "no report"
  with pytest.raises(InputError, match=r"ends \.md"):
    suite.run(kept, "cpu", Console(quiet=True), only="", rest=[])
