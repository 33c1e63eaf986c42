"""What the tests of figures share."""

import pytest

from mn_jax.observe import canvas


@pytest.fixture
def drawn(monkeypatch):
  """The figures that were rendered."""
  figures = []
  render = canvas.pixels

  def record(figure, **options):
    figures.append(figure)
    return render(figure, **{**options, "dpi": 30})

  monkeypatch.setattr(canvas, "pixels", record)
  return figures
