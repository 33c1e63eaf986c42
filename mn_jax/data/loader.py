"""Batches in an order that depends on (seed, epoch) alone, through grain.

The order is one endless sequence of epochs, each a permutation of the split;
batch k holds its positions k * batch_size to (k + 1) * batch_size. So every
image is seen once per epoch, a batch may span two epochs, and the global batch
number is the whole state of the input: a run goes on from batch k by asking
for batch k. A batch is gathered by one fancy index into the packed cache.

Balanced sampling keeps all of this but draws every class equally often: an
epoch is as long, each class has an endless sequence of its own permutations,
and the epoch takes of each the next equal share.
"""

import dataclasses
import functools
from collections.abc import Iterator

import grain
import numpy as np

from mn_jax.errors import InputError

Batch = dict[str, np.ndarray]


# To hand an element from thread to thread costs grain as much as to gather a
# batch of 64 small images: they go in spans of about so many bytes.
_SPAN_BYTES = 8 << 20
_MAX_SPAN = 32


class TrainBatches:
  """The batches of a training run, by global number, for one process.

  A batch holds `image` u8[b, h, w, 3] (unless the images are on the device),
  `id` i32[b] (rows of the cache), `label` i32[b] and `mask` f32[b], all ones.
  """

  def __init__(
    self,
    images: np.ndarray | None,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    batch_size: int,
    num_batches: int,
    seed: int,
    balanced: bool = False,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Sets up the order; reads nothing.

    Args:
      images: u8[n, h, w, 3], or None to leave them out of the batches.
      labels: i32[n].
      rows: i64[m], the rows of the split.
      batch_size: images per batch over all processes.
      num_batches: length of the run.
      seed: of the order.
      balanced: draw every class equally often, not every image.
      process_index, process_count: which contiguous share of every batch this
        process gets.

    Raises:
      InputError: if the batch does not divide among the processes.
    """
    self._images, self._labels, self._rows = images, labels, rows
    self._batch_size = batch_size
    self._num_batches = num_batches
    self._seed = seed
    self._share = _share(
      "train.batch_size", batch_size, process_index, process_count
    )
    # Batches are read in order; one lies in two epochs at most, but for splits
    # smaller than a batch.
    order = self._balance if balanced else self._permute
    self._order = functools.lru_cache(maxsize=2)(order)

  def __len__(self) -> int:
    return self._num_batches

  def __getitem__(self, number: int) -> Batch:
    (batch,) = self.span(number, 1)
    return batch

  def ids(self, number: int, count: int = 1) -> np.ndarray:
    """Rows of the cache in some global batches, in order.

    Args:
      number: of the first batch.
      count: of batches.

    Returns:
      i64[count * batch_size].
    """
    start = number * self._batch_size
    stop = start + count * self._batch_size
    rows = []
    while start < stop:
      epoch, offset = divmod(start, len(self._rows))
      some = self._order(epoch)[offset : offset + stop - start]
      rows.append(self._rows[some])
      start += len(some)
    return np.concatenate(rows)

  def span(self, number: int, count: int) -> list[Batch]:
    """Batches `number` to `number + count`, gathered at once."""
    rows = self.ids(number, count).reshape(count, -1)[:, self._share]
    gathered = _gather(self._images, self._labels, rows.ravel())
    size = rows.shape[1]
    return [
      {name: x[i * size : (i + 1) * size] for name, x in gathered.items()}
      for i in range(count)
    ]

  def iterate(self, *, start: int, prefetch: int) -> Iterator[Batch]:
    """Batches from number `start` on, in order, gathered ahead by a thread.

    Args:
      start: number of the first batch.
      prefetch: batches to have ready; more where they are small.
    """
    spans = _Spans(self, start, self._span_length())
    # A second thread only competes for the interpreter: half as many images.
    options = grain.ReadOptions(
      num_threads=1, prefetch_buffer_size=-(-prefetch // spans.length)
    )
    for span in grain.MapDataset.source(spans).to_iter_dataset(options):
      yield from span

  def _span_length(self) -> int:
    """So many batches are handed over at once."""
    if self._images is None:
      return _MAX_SPAN
    size = self._batch_size * self._images[:1].nbytes
    return min(max(1, _SPAN_BYTES // size), _MAX_SPAN)

  def _permute(self, epoch: int) -> np.ndarray:
    """i64[rows]: positions in the split in the order of an epoch."""
    return _permutation(self._seed, epoch, len(self._rows))

  @functools.cached_property
  def _classes(self) -> list[np.ndarray]:
    """Positions in the split of each class that occurs."""
    labels = self._labels[self._rows]
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]

  def _balance(self, epoch: int) -> np.ndarray:
    """The same with as many of every class as of the others."""
    count, size = len(self._classes), len(self._rows)
    # Position i of the sequence before shuffling is of class i % count.
    drawn = np.arange(epoch * size, (epoch + 1) * size)
    positions = np.empty(size, np.int64)
    for label, members in enumerate(self._classes):
      mine = drawn % count == label
      turn, place = np.divmod(drawn[mine] // count, len(members))
      chosen = np.empty(mine.sum(), np.int64)
      for t in np.unique(turn).tolist():
        here = turn == t
        order = _permutation(self._seed, t, len(members), stream=label + 1)
        chosen[here] = members[order[place[here]]]
      positions[mine] = chosen
    return positions[self._permute(epoch)]


@dataclasses.dataclass(frozen=True)
class _Spans:
  """The batches from one on in spans, as a source for grain."""

  batches: TrainBatches
  start: int
  length: int

  def __len__(self) -> int:
    return -(-(len(self.batches) - self.start) // self.length)

  def __getitem__(self, index: int) -> list[Batch]:
    first = self.start + index * self.length
    count = min(self.length, len(self.batches) - first)
    return self.batches.span(first, count)


def eval_batches(
  images: np.ndarray | None,
  labels: np.ndarray,
  rows: np.ndarray,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """A split once, in order; the last batch is padded and masked.

  Every process gets equally many batches of equal shape, so none waits for
  another. Padding repeats the first row with mask 0.

  Args:
    images: u8[n, h, w, 3], or None to leave them out.
    labels: i32[n].
    rows: i64[m], the rows of the split.
    batch_size: images per batch over all processes.
    process_index, process_count: which contiguous share of every batch to
      yield.

  Raises:
    InputError: if the batch does not divide among the processes.
  """
  here = _share("eval.batch_size", batch_size, process_index, process_count)
  for start in range(0, len(rows), batch_size):
    chosen = rows[start : start + batch_size]
    mask = np.zeros(batch_size, np.float32)
    mask[: len(chosen)] = 1
    padded = np.full(batch_size, rows[0], np.int64)
    padded[: len(chosen)] = chosen
    batch = _gather(images, labels, padded[here])
    batch["mask"] = mask[here]
    yield batch


def _permutation(
  seed: int, number: int, size: int, *, stream: int = 0
) -> np.ndarray:
  """i64[size]: a permutation that three numbers decide.

  Philox's raw words are fixed by its definition; NumPy's own shuffles may
  change between versions.
  """
  bits = np.random.Philox(
    key=np.array([seed, number], np.uint64),
    counter=np.array([0, 0, 0, stream], np.uint64),
  )
  return np.argsort(bits.random_raw(size), kind="stable")


def _share(
  key: str, batch_size: int, process_index: int, process_count: int
) -> slice:
  """The positions of a global batch that a process gets."""
  if batch_size % process_count:
    raise InputError(
      f"{key}: got {batch_size}; valid: a multiple of the {process_count} "
      "processes"
    )
  share = batch_size // process_count
  return slice(process_index * share, (process_index + 1) * share)


def _gather(
  images: np.ndarray | None, labels: np.ndarray, rows: np.ndarray
) -> Batch:
  batch = {
    "id": rows.astype(np.int32),
    "label": labels[rows],
    "mask": np.ones(len(rows), np.float32),
  }
  if images is not None:
    batch["image"] = images[rows]
  return batch
