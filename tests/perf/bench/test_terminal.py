"""Reports in a terminal, written by hand."""

from mn_jax.observe.console import Console
from mn_jax.perf.bench import terminal
from tests.perf.bench import toy_reports as toy


def shown(capsys, monkeypatch, report):
  monkeypatch.setenv("COLUMNS", "200")
  terminal.show(Console(), report)
  return capsys.readouterr().out


def test_a_network_beside_peers(capsys, monkeypatch):
  text = shown(capsys, monkeypatch, toy.NETWORK_REPORT)
  assert "train: mobilenet_v1, 50 px, batch 32, float32, cpu" in text
  assert "1.24 x (1.10-1.40)" in text
  assert "Floor: 3,000 images/s" in text
  assert "not measured: plain-jax: out of luck" in text
  assert "timm-eager, channels first: 888 images/s" in text
  assert "Note: timm-eager used 50% of a core" in text
  assert "Abacus, 2 cores; python 3.12.1" in text


def test_operations(capsys, monkeypatch):
  text = shown(capsys, monkeypatch, toy.OPERATIONS_REPORT)
  assert "depthwise, forward: mobilenet_v1, 50 px, batch 8, float32" in text
  assert "all layers" in text


def test_runs_and_input(capsys, monkeypatch):
  text = shown(capsys, monkeypatch, toy.RUN_REPORT)
  assert "toy: 7 steps of 8 on cpu" in text
  assert "1:02" in text
  text = shown(capsys, monkeypatch, toy.INPUT_REPORT)
  assert "idc, 50 px, batch 8: images/s on one core" in text
