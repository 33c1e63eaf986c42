"""Batches in an order that depends on (seed, epoch) alone, through grain.

The order is one endless sequence of epochs, each a permutation of the split;
batch k holds its positions k * batch_size to (k + 1) * batch_size. So every
image is seen once per epoch, a batch may span two epochs, and the global batch
number is the whole state of the input: a run resumes at batch k by asking for
batch k. A batch is gathered by one fancy index into the packed cache.

Balanced sampling keeps all of this but samples every class equally often: an
epoch is as long, each class has an endless sequence of its own permutations,
and the epoch takes the next equal share of each.

Random crops of whole images are made here, on the host, as images of different
sizes make no array: their random numbers derive from (seed, batch number).
"""

import functools
from collections.abc import Iterator

import grain
import numpy as np

from mn_jax.data import strata, whole
from mn_jax.data.whole import RandomCrops
from mn_jax.errors import InputError

Batch = dict[str, np.ndarray]

# Handing an element from thread to thread costs grain as much as gathering a
# batch of 64 small images: batches are handed over in spans of about this size.
_SPAN_BYTES = 8 << 20
_MAX_SPAN = 32
# Stream of random numbers for crops, by batch; classes have those below.
_CROPS = 1 << 32


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
    crops: RandomCrops | None = None,
    repeats: int = 1,
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
      balanced: sample every class equally often, not every image.
      crops: whole images, of which batches hold random crops in place of
        `images`; None for these.
      repeats: times that an image is in a batch, apart from itself by as many
        others as there are: repeated augmentation. The order goes on from
        batch to batch, so an image comes back after as many epochs.
      process_index, process_count: which contiguous share of every batch this
        process gets.

    Raises:
      InputError: if the batch does not divide among the processes, or the
        repeats.
    """
    if batch_size % repeats:
      raise InputError(
        f"augment.repeats: got {repeats}; valid: a divisor of "
        f"train.batch_size, {batch_size}"
      )
    self._crops, self._repeats = crops, repeats
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

  def ids(self, number: int, count: int = 1) -> np.ndarray:
    """Returns the rows of the cache in some global batches, in order.

    Args:
      number: of the first batch.
      count: of batches.

    Returns:
      i64[count * batch_size].
    """
    size = self._batch_size // self._repeats
    start = number * size
    stop = start + count * size
    rows = []
    while start < stop:
      epoch, offset = divmod(start, len(self._rows))
      positions = self._order(epoch)[offset : offset + stop - start]
      rows.append(self._rows[positions])
      start += len(positions)
    batches = np.concatenate(rows).reshape(count, size)
    return np.tile(batches, self._repeats).ravel()

  def span(self, number: int, count: int) -> list[Batch]:
    """Returns batches `number` to `number + count`, gathered at once."""
    rows = self.ids(number, count).reshape(count, -1)[:, self._share]
    images = self._images if self._crops is None else None
    gathered = _gather(images, self._labels, rows.ravel())
    if self._crops is not None:
      numbers = range(number, number + count)
      uniforms = np.concatenate([self._uniforms(n) for n in numbers])
      gathered["image"] = self._crops.take(rows.ravel(), uniforms)
    size = rows.shape[1]
    return [
      {name: x[i * size : (i + 1) * size] for name, x in gathered.items()}
      for i in range(count)
    ]

  def iterate(self, *, start: int, prefetch: int) -> Iterator[Batch]:
    """Yields batches from number `start` on, gathered ahead by a thread.

    Args:
      start: number of the first batch.
      prefetch: batches to have ready; more where they are small.
    """
    length = self._span_length()
    # A second thread only competes for the interpreter: half as many images.
    options = grain.ReadOptions(
      num_threads=1, prefetch_buffer_size=-(-prefetch // length)
    )
    spans = grain.MapDataset.range(start, len(self), length).map(
      lambda first: self.span(first, min(length, len(self) - first))
    )
    for span in spans.to_iter_dataset(options):
      yield from span

  def _span_length(self) -> int:
    """Returns how many batches are handed over at once."""
    if self._crops is not None:
      size = self._batch_size * self._crops.size**2 * 3
    elif self._images is None:
      return _MAX_SPAN
    else:
      size = self._batch_size * self._images[:1].nbytes
    return min(max(1, _SPAN_BYTES // size), _MAX_SPAN)

  def _uniforms(self, number: int) -> np.ndarray:
    """Returns f64[b, UNIFORMS], the randomness of this process's crops."""
    bits = _philox(self._seed, number, stream=_CROPS)
    words = bits.random_raw(self._batch_size * whole.UNIFORMS)
    uniforms = (words >> np.uint64(11)) * 2.0**-53
    return uniforms.reshape(self._batch_size, -1)[self._share]

  def _permute(self, epoch: int) -> np.ndarray:
    """Returns i64[rows], the order of an epoch as positions in the split."""
    return _permutation(self._seed, epoch, len(self._rows))

  @functools.cached_property
  def _classes(self) -> list[np.ndarray]:
    """The positions in the split of each class that occurs."""
    return strata.class_strata(self._labels[self._rows])

  def _balance(self, epoch: int) -> np.ndarray:
    """Returns the order of an epoch with as many images of every class."""
    count, size = len(self._classes), len(self._rows)
    # Place i of the sequence before shuffling is of class i % count.
    places = np.arange(epoch * size, (epoch + 1) * size)
    positions = np.empty(size, np.int64)
    for label, members in enumerate(self._classes):
      of_label = places % count == label
      pass_, place = np.divmod(places[of_label] // count, len(members))
      chosen = np.empty(of_label.sum(), np.int64)
      for number in np.unique(pass_).tolist():
        in_pass = pass_ == number
        order = _permutation(self._seed, number, len(members), stream=label + 1)
        chosen[in_pass] = members[order[place[in_pass]]]
      positions[of_label] = chosen
    return positions[self._permute(epoch)]


def eval_batches(
  images: np.ndarray | None,
  labels: np.ndarray,
  rows: np.ndarray,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Batch]:
  """Yields a split once, in order; the last batch is padded and masked.

  Every process gets as many batches of the same shape, so none waits for
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
  share = _share("eval.batch_size", batch_size, process_index, process_count)
  for start in range(0, len(rows), batch_size):
    chosen = rows[start : start + batch_size]
    mask = np.zeros(batch_size, np.float32)
    mask[: len(chosen)] = 1
    padded = np.full(batch_size, rows[0], np.int64)
    padded[: len(chosen)] = chosen
    batch = _gather(images, labels, padded[share])
    batch["mask"] = mask[share]
    yield batch


def _permutation(
  seed: int, number: int, size: int, *, stream: int = 0
) -> np.ndarray:
  """Returns i64[size], a permutation by seed, number and stream alone.

  Philox's raw words are fixed by its definition; NumPy's own shuffles may
  change between versions.
  """
  words = _philox(seed, number, stream=stream).random_raw(size)
  return np.argsort(words, kind="stable")


def _philox(seed: int, number: int, *, stream: int) -> np.random.Philox:
  return np.random.Philox(
    key=np.array([seed, number], np.uint64),
    counter=np.array([0, 0, 0, stream], np.uint64),
  )


def _share(
  key: str, batch_size: int, process_index: int, process_count: int
) -> slice:
  """Returns the positions of a global batch that a process gets."""
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
