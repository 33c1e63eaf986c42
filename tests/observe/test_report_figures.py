"""Figures of reports, as arrays."""

import numpy as np

from mn_jax.observe import report_figures


def lines(axes):
  """Label -> points, of the lines that have one."""
  return {
    line.get_label(): np.column_stack(line.get_data())
    for line in axes.lines
    if not line.get_label().startswith("_")
  }


def test_learning_curves_leave_out_the_final_test(drawn):
  runs = [
    {
      "train/loss": [(0.5, 1.0), (1.0, 0.8)],
      "val/loss": [(1.0, 0.9)],
      "test/loss": [(1.0, 0.7)],
    },
    {"train/loss": [(0.5, 1.1), (1.0, 0.7)]},
  ]
  image = report_figures.learning_curves(runs, ["loss"], "title")
  assert image.dtype == np.uint8
  assert image.shape[2] == 3
  (axes,) = drawn[0].axes
  found = lines(axes)
  assert set(found) == {"train", "val"}  # each once, whatever the seeds
  np.testing.assert_array_equal(found["train"], runs[0]["train/loss"])
  np.testing.assert_array_equal(found["val"], runs[0]["val/loss"])
  assert len(axes.lines) == 3
  # Means over epochs are smoother, and comparable with validation.
  means = [(1.0, 0.95), (2.0, 0.7)]
  report_figures.learning_curves(
    [{**runs[0], "train_epoch/loss": means}], ["loss"], "title"
  )
  np.testing.assert_array_equal(lines(drawn[1].axes[0])["train"], means)
  # A run that is selected on the test has curves of it.
  runs = [{"test/loss": [(1.0, 0.7), (2.0, 0.6)]}]
  report_figures.learning_curves(runs, ["loss"], "title")
  assert set(lines(drawn[2].axes[0])) == {"test"}


def test_members_show_seeds_means_and_published_values(drawn):
  rows = [
    report_figures.MemberRow(
      "a", [0.7, 0.8], 0.75, 0.1, 1.4, 0.9, {"majority": 0.5, "colour": None}
    ),
    report_figures.MemberRow("never", [], None, None, None, None),
  ]
  report_figures.members(rows, "accuracy", "title")
  (axes,) = drawn[0].axes
  found = lines(axes)
  np.testing.assert_array_equal(found["a seed"][:, 0], [0.7, 0.8])
  for name, value in (("mean", 0.75), ("published", 0.9)):
    nothing = [np.nan, 1]
    np.testing.assert_array_equal(found[name], [[value, 0], nothing])
  (ticks,) = axes.collections  # of each row its own; none is undefined
  np.testing.assert_allclose(
    ticks.get_segments(), [[[0.5, -0.45], [0.5, 0.45]]]
  )
  # A wide interval does not stretch the axis.
  assert np.nanmax(found["95 % interval"][:, 0]) == 1.02
  assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "never"]
  report_figures.members(rows[1:], "accuracy", "title")
  assert not lines(drawn[1].axes[0])


def test_examples_have_titles(drawn):
  for count in (1, 6, 8):
    images = np.zeros((count, 8, 8, 3), np.uint8)
    titles = [f"title {i}" for i in range(count)]
    report_figures.examples(images, titles)
    found = [axes.get_title() for axes in drawn[-1].axes]
    assert found[:count] == titles
    assert not any(found[count:])
