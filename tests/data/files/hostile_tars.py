"""Tars that could do harm, built in memory, each with its expected error."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib

from tests.data.files.hostile_archives import (
  CONTENT,
  DOUBLES,
  HUGE,
  NAMES,
  Refused,
)
from tests.data.files.hostile_zips import zip_of


def block(name: str | bytes, size: int | bytes = 0, kind=b"0", **fields):
  """A tar header with a right checksum (POSIX.1-2017, ustar)."""
  name = name.encode() if isinstance(name, str) else name
  number = b"%011o\0" % size if isinstance(size, int) else size
  header = b"".join((
    name.ljust(100, b"\0"), b"0000644\0" + b"0000000\0" * 2, number,
    b"00000000000\0" + b" " * 8, kind,
    fields.get("link", b"").ljust(100, b"\0"),
    fields.get("magic", b"ustar\00000").ljust(88, b"\0"),
    fields.get("prefix", b"").ljust(167, b"\0"),
  ))  # fmt: skip
  assert len(header) == 512
  return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def padded(data: bytes) -> bytes:
  return data + bytes(-len(data) % 512)


def member(name: str | bytes, data: bytes = b"", kind=b"0", **fields) -> bytes:
  return block(name, len(data), kind, **fields) + padded(data)


def pax(key: str, value: bytes, kind=b"x") -> bytes:
  """An extended header of one record, which counts its own length."""
  rest = b" " + key.encode() + b"=" + value + b"\n"
  length = len(rest) + 1
  while len(str(length)) + len(rest) != length:
    length += 1
  return member("PaxHeader", str(length).encode() + rest, kind)


def tar_of(*parts: bytes) -> bytes:
  return b"".join(parts) + bytes(1024)


def library_tar(form: int, content=None) -> bytes:
  """As tarfile writes it, with folders."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w", format=form) as file:
    folder = tarfile.TarInfo("d")
    folder.type = tarfile.DIRTYPE
    file.addfile(folder)
    for name, data in (content or CONTENT).items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      file.addfile(info, io.BytesIO(data))
  return buffer.getvalue()


def _zeros(count: int, packer) -> bytes:
  """A compressed tar of one file of zeros, never archive in memory."""
  parts = [packer.compress(block("bomb.bin", count))]
  parts += [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
  return b"".join((*parts, packer.compress(bytes(1024)), packer.flush()))


def refused_tars() -> list[Refused]:
  good = member("good.png", b"1")
  cases = [
    Refused(name, tar_of(good, member(bad, b"2")), reason, bad)
    for name, bad, reason in NAMES
  ]
  cases += [
    Refused(
      name,
      tar_of(member(first, b"1"), member(second, b"2" * (second[-1] != "/"))),
      reason,
      second,
    )
    for name, first, second, reason in DOUBLES
  ]
  cases += [
    Refused(
      name, tar_of(good, member("a", kind=kind, link=b"good.png")), reason, "a"
    )
    for name, kind, reason in (
      ("hard link", b"1", "a link"),
      ("symbolic link", b"2", "a link"),
      ("character device", b"3", "special"),
      ("block device", b"4", "special"),
      ("fifo", b"6", "special"),
      ("sparse", b"S", "sparse"),
      ("part of several volumes", b"M", "unknown type b'M'"),
      ("label of a volume", b"V", "unknown type b'V'"),
    )
  ]
  a = member("a", b"1")
  cases += [
    Refused(name, tar_of(good, record, a), reason, where)
    for name, record, reason, where in (
      ("hidden traversal", pax("path", b"../b"), "leaves", "../b"),
      ("hidden null byte", pax("path", b"b\0.exe"), "null byte", "b\0.exe"),
      ("empty name", pax("path", b""), "an empty name", ""),
      ("hidden huge size", pax("size", b"%d" % HUGE), "truncated", "a"),
      ("sparse by record", pax("GNU.sparse.major", b"1"), "sparse", "a"),
      ("name for all", pax("path", b"x", b"g"), "name or size for all", "x"),
      ("size that is none", pax("size", b"-1"), "a negative size", "a"),
      ("broken record", member("P", b"99 path=b\n", b"x"), "a null byte", None),
      ("record of no length", member("P", b"0 p=b\n", b"x"), "damaged", None),
      ("long record", member("P", bytes(70_000), b"x"), "extended header", "P"),
      ("long GNU name", member("L", b"n" * 5000, b"L"), "1024 bytes", None),
      ("GNU traversal", member("L", b"../b\0", b"L"), "leaves", "../b"),
    )
  ]
  return [*cases, *_refused_damaged(), *_refused_compressed()]


def _refused_damaged() -> list[Refused]:
  good, a = member("good.png", b"1"), member("a", b"1")
  plain = library_tar(tarfile.USTAR_FORMAT)
  archive = tar_of(good, a)
  bad_sum = bytearray(archive)
  bad_sum[1024] ^= 1
  end = len(tar_of(good)) - 1024
  notes = pax("comment", bytes(60_000).replace(b"\0", b"x"))
  noted = tar_of(*(notes + block(str(i)) for i in range(30)))
  huge = block("a", b"\x80" + bytes(7) + (1 << 31).to_bytes(4))
  return [
    Refused("huge", tar_of(block("a", HUGE)), "truncated", "a"),
    Refused("huge in binary", tar_of(good, huge), "truncated", "a"),
    Refused("headers alone", noted, "extended"),
    Refused(
      "negative size", tar_of(good, block("a", b"\xff" * 12)), "negative"
    ),
    Refused(
      "no octal", tar_of(good, block("a", b"9" * 11 + b"\0")), "invalid header"
    ),
    Refused("wrong checksum", bytes(bad_sum), "checksum", "good.png"),
    Refused("cut content", tar_of(good, block("a", 5000)), "truncated"),
    Refused("no end", good + a, "truncated (empty header)", "a"),
    Refused("cut header", (good + a)[: end + 100], "truncated", "good.png"),
    Refused("two archives", archive + archive, "more data after the end"),
    Refused("zip at its end", plain + zip_of(("x", b"1")), "more data after"),
    Refused(
      "record for nothing", tar_of(good, pax("path", b"x")), "end of file"
    ),
    Refused(
      "folder with content", tar_of(member("d", b"1", b"5")), "folder with", "d"
    ),
    Refused(
      "damaged first header", plain[:5] + b"X" + plain[6:], "not a readable"
    ),
  ]


def _refused_compressed() -> list[Refused]:
  plain = library_tar(tarfile.USTAR_FORMAT)
  packed = gzip.compress(plain)
  many = tar_of(*(member(f"{i}.png", b"1") for i in range(65)))
  # An .xz block's header with a dictionary of 4 GiB (its format, 5.3.1).
  header = b"\x02\0\x21\x01\x28\0\0\0"
  start = b"\0\x04" + struct.pack("<L", zlib.crc32(b"\0\x04"))
  greedy = (
    b"\xfd7zXZ\0" + start + header + struct.pack("<L", zlib.crc32(header))
  )
  cases = [
    Refused("gz of text", gzip.compress(b"label,path\n" * 99), "damaged"),
    Refused("gz of little", gzip.compress(b"label"), "truncated"),
    Refused("gz bomb", _zeros(1 << 26, zlib.compressobj(1, 8, 31)), "200 : 1"),
    Refused("bz2 bomb", _zeros(1 << 23, bz2.BZ2Compressor(1)), "200 : 1"),
    Refused("xz bomb", _zeros(1 << 23, lzma.LZMACompressor(preset=0)), "200"),
    Refused("xz that wants memory", greedy + bytes(99), "damaged"),
    Refused("wrong gz checksum", packed[:-8] + bytes(8), "damaged"),
    Refused("more after the gz", packed + b"more", "damaged"),
    Refused(
      "many files", gzip.compress(many), "unpack it, or make it a zip", "64.png"
    ),
    Refused(
      "traversal in a gz", gzip.compress(tar_of(member("../a"))), "leaves"
    ),
  ]
  for pack in (gzip.compress, bz2.compress, lzma.compress):
    data = pack(plain)
    kind = pack.__module__
    cases.append(Refused(f"half a {kind}", data[: len(data) // 2], "truncated"))
    cases.append(Refused(f"{kind} but its end", data[:-3], "truncated"))
  return cases
