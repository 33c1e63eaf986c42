"""Tables, figures and the page about a user's images before training."""

from collections.abc import Iterator

import numpy as np

from mn_jax.data import duplicates
from mn_jax.observe import canvas, overview_figures, report_figures
from mn_jax.observe.formatting import count, left_out, percent
from mn_jax.own_images.overview import MOST_COMPARED, Alike, Overview
from mn_jax.report.document import Document, Figure, Section
from mn_jax.report.tables import Table

# Of more classes the largest and smallest are shown.
_CLASSES = 20
_SHORT = 16  # letters of a name above an image


def class_table(overview: Overview, *, most: int = _CLASSES) -> Table:
  """Returns the images of every class, in all and by part.

  Args:
    overview: of the images.
    most: number of classes that are shown.
  """
  counts, names = overview.counts(), overview.new.facts.classes
  is_multi = overview.new.facts.multi_label
  total = len(overview.found.rows) if is_multi else counts["images"].sum()
  order = np.argsort(-counts["images"], kind="stable")
  if len(order) > most:
    order = np.concatenate([order[: most // 2], order[-(most // 2) :]])
  rows = [
    (
      names[i],
      f"{counts['images'][i]:,}",
      percent(counts["images"][i] / total),
      *(f"{x[i]:,}" for part, x in counts.items() if part != "images"),
    )
    for i in order
  ]
  titles = {"train": "training", "val": "validation"}
  parts = [titles.get(part, part) for part in counts if part != "images"]
  note = ""
  if len(names) > len(order):
    note = f"The largest and smallest {most // 2} of {len(names):,} classes."
  kind = "label" if is_multi else "class"
  return Table((kind, "images", "share", *parts), rows, note)


def size_table(overview: Overview) -> Table:
  """Returns the range of the sizes of the images, in pixels."""
  rows = [
    (
      name,
      *(
        f"{value:,.0f}" if "/" not in name else f"{value:.2f}"
        for value in np.percentile(values, (0, 5, 50, 95, 100))
      ),
    )
    for name, values in overview.sizes().items()
  ]
  return Table(("pixels", "smallest", "5 %", "median", "95 %", "largest"), rows)


def duplicate_table(overview: Overview) -> Table:
  """Returns how many images there are more than once, and where."""
  kinds = [("sets of equal files", overview.equal)]
  note = ""
  if overview.near is None:
    note = (
      f"Look-alikes are searched among up to {MOST_COMPARED:,} images, not "
      "among these."
    )
  else:
    kinds.append(("pairs that look alike", overview.near))
  rows = [
    (
      name,
      f"{len(alike.names):,}",
      f"{alike.images():,}",
      f"{alike.across_classes().sum():,}",
      f"{alike.across_parts().sum():,}",
    )
    for name, alike in kinds
  ]
  columns = ("", "number", "images", "across classes", "across parts")
  return Table(columns, rows, note)


def settings_table(overview: Overview) -> Table:
  """Returns what would be trained, a row for each field."""
  rows = []
  for choice in overview.new.choices:
    for i, (path, value) in enumerate(choice.fields.items()):
      rows.append((path, str(value), "" if i else choice.reason))
    if not choice.fields:
      rows.append(("", "", choice.reason))
  rows += [(path, str(value), "as you say") for path, value in _given(overview)]
  return Table(("field", "value", "why"), rows)


def _given(overview: Overview) -> list[tuple[str, object]]:
  return list(overview.new.given.items())


def lines(overview: Overview, *, shown: int = 5) -> Iterator[str]:
  """Yields what a reader should know beside the tables, a line each.

  Args:
    overview: of the images.
    shown: number of examples of each kind.
  """
  kinds = ", ".join(f"{kind} ({n:,})" for kind, n in overview.formats())
  yield f"Formats: {kinds}"
  unreadable = overview.unreadable()
  if unreadable:
    yield f"{count(len(unreadable), 'image')} cannot be read:"
    yield from (f"  {name}: {why}" for name, why in unreadable[:shown])
  yield from _examples(overview.equal, "equal files", shown)
  if overview.near is not None:
    yield from _examples(overview.near, "look alike", shown)
    if overview.blank():
      total = len(overview.found.rows)
      yield f"Note: {duplicates.blank_note(overview.blank(), total)}"
  yield from (f"Note: {note}" for note in overview.listing.notes)
  passed_over = left_out(overview.listing.passed_over, shown)
  yield from (f"Note: {note}" for note in passed_over)
  if overview.data is not None:
    yield from (f"Note: {note}" for note in overview.data.split.notes)


def _examples(alike: Alike, what: str, shown: int) -> Iterator[str]:
  """Yields examples, those with different labels first."""
  across = alike.across_classes()
  order = np.argsort(~across, kind="stable")[:shown]
  for i in order.tolist():
    names = " = ".join(alike.names[i][:4])
    more = len(alike.names[i]) - 4
    if more > 0:
      names += f" = {more} more"
    mark = "different labels, " if across[i] else ""
    yield f"{mark}{what}: {names}"


def build(overview: Overview, time: str) -> Document:
  """Returns the page about a user's images.

  Args:
    overview: of the images, with samples.
    time: how long training would take, in words.
  """
  new, number = overview.new, len(overview.listing)
  size = overview.found.num_bytes.sum() / 1e6
  kind = "labels" if new.facts.multi_label else "classes"
  split = "no split"
  if overview.data is not None:
    split = f"{overview.data.kind}, sha256 {overview.data.split.sha256[:12]}"
  warnings = []
  if overview.problem:
    warnings.append(f"These images cannot be trained on: {overview.problem}")
  return Document(
    title=f"{new.config.experiment}: the images",
    warnings=warnings,
    intro=f"{count(number, 'image')} in {len(new.facts.classes):,} {kind}, "
    f"{size:,.1f} MB",
    tables={
      "Classes": class_table(overview),
      "Sizes": size_table(overview),
      "More than once": duplicate_table(overview),
      "What would be trained": settings_table(overview),
    },
    figures=list(_sample_figures(overview)),
    sections=list(_sections(overview)),
    protocol=(
      ("images", new.config.data.path),
      ("split", split),
      ("time", time),
    ),
    notes=list(lines(overview, shown=20)),
  )


def _sample_figures(overview: Overview) -> Iterator[Figure]:
  if overview.samples:
    yield Figure(
      "samples",
      overview_figures.samples(overview.samples),
      "Some images of each class, spread over its list, as training would see "
      "them before augmentation.",
      photo=True,
    )
  sizes = overview.sizes()
  yield Figure(
    "sizes",
    overview_figures.sizes(
      sizes["height"], sizes["width"], overview.new.config.data.image_size
    ),
    "Sizes of the images; a larger dot is more images of that size.",
  )


def _sections(overview: Overview) -> Iterator[Section]:
  if not len(overview.pairs):
    return
  names = [x for pair in overview.pair_names for x in pair]
  titles = [
    f"{canvas.label(label, _SHORT)}\n{canvas.label(name, _SHORT + 6)}"
    for name, label in names
  ]
  yield Section(
    title="Images that are there twice",
    anchor="twice",
    text="Each with its equal or look-alike to the right, those of different "
    "labels first. Of images that differ in their label alone, one is "
    "mislabelled.",
    figures=[
      Figure(
        "pairs",
        report_figures.examples(
          overview.pairs.reshape(-1, *overview.pairs.shape[2:]), titles
        ),
        "Pairs of images, with their class and name.",
        photo=True,
      )
    ],
  )
