"""Progress in the cell of a notebook, without ipywidgets."""

import IPython.display
import pytest

from mn_jax.observe import console as console_lib
from mn_jax.observe import notebook


@pytest.fixture
def shown(monkeypatch):
  """What a cell shows: (HTML, text) of each display and update of it."""
  shown = []

  class Handle:
    def update(self, data, raw):
      assert raw
      shown.append((data["text/html"], data["text/plain"]))

  def display(data, raw, display_id):
    assert raw
    assert display_id
    assert set(data) == {"text/html", "text/plain"}
    return Handle()

  monkeypatch.setattr(IPython.display, "display", display)
  monkeypatch.setattr(notebook, "is_notebook", lambda: True)
  # As ipykernel does, so that programs colour what they print.
  monkeypatch.setenv("FORCE_COLOR", "1")
  return shown


def test_outside_of_notebooks_there_is_none():
  assert not notebook.is_notebook()


def test_a_bar_is_replaced_and_taken_away(shown, capsys, monkeypatch):
  clock = iter(range(0, 1000, 1))
  monkeypatch.setattr(notebook.time, "monotonic", lambda: next(clock))
  console = console_lib.Console()
  with console.counting("decoding <x>", "images") as update:
    update(3, 10)
    update(7, 10)
  lines = [text for _, text in shown]
  assert lines[0].startswith("decoding <x>  0/10")
  assert lines[1].startswith("decoding <x>  3/10")
  assert lines[2].startswith("decoding <x>  7/10")
  assert "images/s" in lines[2]
  assert shown[2][0].startswith("<div><code>decoding &lt;x&gt;  7/10")
  assert '<progress value="7" max="10"></progress>' in shown[2][0]
  assert shown[-1] == ("", "")
  assert capsys.readouterr().out == "decoding <x>: 7 images\n"


def test_updates_are_shown_a_few_times_a_second(shown, monkeypatch):
  monkeypatch.setattr(notebook.time, "monotonic", lambda: 5.0)
  with console_lib.Console().counting("decoding", "images") as update:
    for done in range(1000):
      update(done, 1000)
  assert len(shown) == 2  # the first, and the end


def test_the_loop_shows_its_step_and_plain_lines(shown, capsys, monkeypatch):
  console = console_lib.Console()
  with console.training(total=20) as progress:
    assert shown[0][1].startswith("compiling  0/20")
    monkeypatch.setattr(notebook, "_SECONDS", 0)
    progress.step(3)
    progress.step(4)
    assert shown[-1][1].startswith("training  4/20")
    assert "images/s" not in shown[-1][1]  # which is not known yet
    progress.rate(4, 123.4, 9.0)
    assert "123 images/s" in shown[-1][1]
    progress.event(3, "val loss 0.5", 9.0)
  console.table("title", ("a", "b"), [("x", "1")])
  out = capsys.readouterr().out
  assert out.startswith(" 3/20  val loss 0.5\n")  # time left is in the bar
  assert "title" in out
  assert "\x1b" not in out


def test_nothing_is_shown_where_nothing_is_printed(shown, capsys):
  console = console_lib.Console(quiet=True)
  with console.training(total=20) as progress:
    progress.step(3)
  assert shown == []
  assert capsys.readouterr().out == ""
