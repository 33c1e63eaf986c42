"""Stamps: numbers that change whenever the content of a file can have changed.

Of archives that have checksums a stamp is of the content. Elsewhere it is of
what the system keeps of a file: its size, the times when content and metadata
changed, and its inode. A file that is edited in place has another time of
change even if its time of modification is put back, and another file of the
same size has another inode. The device is no part: network disks have another
number after each mount.
"""

import hashlib
import os


def of_numbers(*values: int) -> int:
  """Returns a stamp, a signed integer of 64 bits, of some numbers."""
  digest = hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
  return int.from_bytes(digest, signed=True)


def of_status(status: os.stat_result, *more: int) -> int:
  """Returns the stamp of a file, or of a place in it, by its metadata.

  Args:
    status: of the file, links followed.
    *more: what tells the place.
  """
  return of_numbers(
    status.st_size,
    status.st_mtime_ns,
    status.st_ctime_ns,
    status.st_ino,
    *more,
  )
