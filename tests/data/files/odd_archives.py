"""Archives that are merely odd, built in memory, each with its content."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile

from tests.data.files.hostile_archives import CONTENT
from tests.data.files.hostile_tars import library_tar, member, pax, tar_of
from tests.data.files.hostile_zips import entry, zip_of


def odd_archives() -> dict[str, tuple[bytes, dict[str, bytes]]]:
  """Archives that are merely odd, and their content."""
  plain = library_tar(tarfile.USTAR_FORMAT)
  half = len(plain) // 2
  long = {f"{'long/' * 30}{'n' * 180}.png": b"1", "grün/ß.png": b"2"}
  case = {"a.png": b"1", "A.png": b"2"}
  wide = io.BytesIO()
  with (
    zipfile.ZipFile(wide, "w") as file,
    file.open("e", "w", force_zip64=True) as out,
  ):
    out.write(b"1")
  items = CONTENT.items()
  modes = zip_of(
    (entry("d/", stat.S_IFDIR | 0o755), b""),
    (entry("d/a.png", stat.S_IFREG | 0o644), b"1"),
  )
  return {
    "zip": (zip_of(*items), CONTENT),
    "zip of a blank image and a text": (
      zip_of(("blank.bmp", bytes(1 << 20)), ("a.csv", b"x,0\n" * 99_999)),
      {"blank.bmp": bytes(1 << 20), "a.csv": b"x,0\n" * 99_999},
    ),
    "zip of UTF-8 without the flag": (
      zip_of(*long.items()).replace(b"\0\x08\x08\0", b"\0\0\x08\0"),
      long,
    ),
    "zip of a name of DOS": (
      zip_of(("gr#n.png", b"1")).replace(b"gr#n", b"gr\x81n"),
      {"grün.png": b"1"},
    ),
    "stored zip": (zip_of(*items, method=zipfile.ZIP_STORED), CONTENT),
    "zip with folders": (zip_of(("d/", b""), *items, ("x/", b"")), CONTENT),
    "zip with modes": (modes, {"d/a.png": b"1"}),
    "zip64": (wide.getvalue(), {"e": b"1"}),
    "zip behind a program": (b"#!/bin/sh\n" + zip_of(*items), CONTENT),
    "zip of long names": (zip_of(*long.items()), long),
    "zip of two cases": (zip_of(*case.items()), case),
    "zip of dots": (zip_of(("./d//a.png", b"1")), {"d/a.png": b"1"}),
    "ustar": (plain, CONTENT),
    "gnu": (library_tar(tarfile.GNU_FORMAT), CONTENT),
    "pax": (library_tar(tarfile.PAX_FORMAT), CONTENT),
    "gnu of long names": (library_tar(tarfile.GNU_FORMAT, long), long),
    "pax of long names": (library_tar(tarfile.PAX_FORMAT, long), long),
    "ustar with prefix": (
      tar_of(member("a.png", b"1", prefix=b"d/e")),
      {"d/e/a.png": b"1"},
    ),
    "tar of two cases": (library_tar(tarfile.PAX_FORMAT, case), case),
    "tar of dots": (
      tar_of(member("./", kind=b"5"), member("./d/a.png", b"1")),
      {"d/a.png": b"1"},
    ),
    "old tar": (
      tar_of(member("d/", kind=b"\0", magic=b""), member("d/a", b"1", b"\0")),
      {"d/a": b"1"},
    ),
    "tar with a comment": (
      tar_of(pax("comment", b"1f", b"g"), member("a", b"1")),
      {"a": b"1"},
    ),
    "tar with one end block": (member("a", b"1") + bytes(512), {"a": b"1"}),
    "tar.gz": (gzip.compress(plain), CONTENT),
    "tar.bz2": (bz2.compress(plain), CONTENT),
    "tar.xz": (lzma.compress(plain), CONTENT),
    "tar.gz of two streams": (
      gzip.compress(plain[:half]) + gzip.compress(plain[half:]) + bytes(512),
      CONTENT,
    ),
    "tar.bz2 of two streams": (
      bz2.compress(plain[:half]) + bz2.compress(plain[half:]),
      CONTENT,
    ),
    "tar.xz of two streams": (
      lzma.compress(plain[:half]) + lzma.compress(plain[half:]),
      CONTENT,
    ),
    "empty tar.gz": (gzip.compress(bytes(10240)), {}),
  }
