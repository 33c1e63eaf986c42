"""Reports in a terminal, written by hand."""

from mn_jax.observe.console import Console
from mn_jax.perf.bench import terminal
from tests.perf.bench import toy_reports as toy


def test_reports_in_a_terminal(capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "200")
  for report, *lines in (
    (
      toy.NETWORK_REPORT,
      "train: mobilenet_v1, 50 px, batch 32, float32, cpu",
      "1.24 x (1.10-1.40)",
      "Floor: 3,000 images/s",
      "not measured: plain-jax: out of luck",
      "timm-eager, channels first: 888 images/s",
      "Note: timm-eager used 50% of a core",
      "Abacus, 2 cores; python 3.12.1",
    ),
    (
      toy.OPERATIONS_REPORT,
      "depthwise, forward: mobilenet_v1, 50 px, batch 8, float32",
      "all layers",
    ),
    (toy.RUN_REPORT, "toy: 7 steps of 8 on cpu", "1:02"),
    (toy.INPUT_REPORT, "idc, 50 px, batch 8: images/s on one core"),
  ):
    terminal.show(Console(), report)
    text = capsys.readouterr().out
    for line in lines:
      assert line in text
