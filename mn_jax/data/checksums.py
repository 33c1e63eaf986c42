"""Checksums: of JSON, and of the blocks of a large file.

Of such a file a few blocks can be compared.
"""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

BLOCK_BYTES = 1 << 20
DIGEST_BYTES = 16
# Blocks that are compared unless all are.
_SAMPLED = 64


class ChecksumError(Exception):
  """What differs between a file or folder and what was written."""


def of_json(values: Any) -> str:
  """Returns the hex SHA-256 of values as JSON, whatever the order of keys."""
  return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def digest(data: bytes) -> bytes:
  """Returns the checksum of a block, 16 hex digits."""
  return hashlib.sha256(data).hexdigest()[:DIGEST_BYTES].encode()


def digests(data: bytes) -> list[bytes]:
  """Returns the checksum of each block of some bytes."""
  starts = range(0, len(data), BLOCK_BYTES)
  return [digest(data[start : start + BLOCK_BYTES]) for start in starts]


def compare(
  path: pathlib.Path,
  lengths: Iterable[int],
  expected: Sequence[bytes],
  *,
  verify: bool,
) -> None:
  """Compares a file with the checksums of its blocks: of all, or of a few.

  The first block is always compared, and of others 63, spread over the file and
  chosen anew in every call: 64 MiB, which take 0.05 to 0.2 s where the system
  has them in memory.

  Args:
    path: of the file.
    lengths: of its parts in bytes, of which each starts a block.
    expected: checksum of each block of every part.
    verify: whether all are compared.

  Raises:
    ChecksumError: if one differs.
    OSError: if the file cannot be read.
  """
  spans = []
  stop = 0
  for length in lengths:
    start, stop = stop, stop + length
    spans += [
      (offset, min(offset + BLOCK_BYTES, stop))
      for offset in range(start, stop, BLOCK_BYTES)
    ]
  chosen = np.arange(len(spans))
  if len(chosen) > _SAMPLED and not verify:
    rng = np.random.default_rng()
    others = np.array_split(chosen[1:], _SAMPLED - 1)
    chosen = np.array([0, *(rng.choice(part) for part in others)])
  with path.open("rb") as file:
    for block in chosen.tolist():
      start, end = spans[block]
      file.seek(start)
      if digest(file.read(end - start)) != expected[block]:
        raise ChecksumError(f"{path.name} does not match its checksums")
