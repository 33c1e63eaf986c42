"""Batches in an order that depends on (seed, epoch) alone, through grain.

The order is one endless sequence of epochs, each a permutation of the split;
batch k holds its positions k * batch_size to (k + 1) * batch_size. So every
image is seen once per epoch, a batch may span two epochs, and the global batch
number is the whole state of the input: a run goes on from batch k by asking
for batch k. A batch is gathered by one fancy index into the packed cache.
"""

import functools
from collections.abc import Iterator

import grain
import numpy as np

from mn_jax.errors import InputError

Batch = dict[str, np.ndarray]


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
    self._permutation = functools.lru_cache(maxsize=2)(self._permute)

  def __len__(self) -> int:
    return self._num_batches

  def __getitem__(self, number: int) -> Batch:
    rows = self.ids(number)[self._share]
    return _gather(self._images, self._labels, rows)

  def ids(self, number: int) -> np.ndarray:
    """i64[batch_size]: rows of the cache in a global batch, in order."""
    start = number * self._batch_size
    position = np.arange(start, start + self._batch_size)
    epoch, offset = np.divmod(position, len(self._rows))
    rows = np.empty(self._batch_size, np.int64)
    for e in np.unique(epoch).tolist():
      here = epoch == e
      rows[here] = self._rows[self._permutation(e)[offset[here]]]
    return rows

  def iterate(self, *, start: int, prefetch: int) -> Iterator[Batch]:
    """Batches from number `start` on, in order, gathered ahead by a thread."""
    # A second thread only competes for the interpreter: half as many images.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
    dataset = grain.MapDataset.source(self)[start:]
    return iter(dataset.to_iter_dataset(options))

  def _permute(self, epoch: int) -> np.ndarray:
    # Philox's raw words are fixed by its definition; NumPy's own shuffles may
    # change between versions.
    bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
    return np.argsort(bits.random_raw(len(self._rows)), kind="stable")


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
