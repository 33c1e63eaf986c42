"""Zips that could do harm, built in memory, each with its expected error."""

import io
import stat
import struct
import zipfile

from tests.data.files.hostile_archives import DOUBLES, HUGE, NAMES, Refused


def zip_of(*entries, method=zipfile.ZIP_DEFLATED) -> bytes:
  """A zip of (name or ZipInfo, bytes) pairs in this order."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", method) as file:
    for name, data in entries:
      file.writestr(name, data)
  return buffer.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
  info = zipfile.ZipInfo(name)
  info.create_system = 3  # Unix, whose modes tell links
  info.external_attr = mode << 16
  return info


def patched(data: bytes, offset: int, layout: str, *values) -> bytes:
  """Overwrites a field of the last member's entry in the zip's directory."""
  changed = bytearray(data)
  struct.pack_into(layout, changed, data.rindex(b"PK\1\2") + offset, *values)
  return bytes(changed)


def patched_local(data: bytes, offset: int, layout: str, *values) -> bytes:
  """Overwrites a field of the first member's header."""
  changed = bytearray(data)
  struct.pack_into(layout, changed, offset, *values)
  return bytes(changed)


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
  """Replaces a name in both headers, past what zipfile would let through."""
  assert len(old) == len(new)
  assert data.count(old) == 2
  return data.replace(old, new)


def refused_zips() -> list[Refused]:
  """Zips that are not opened."""
  return [*_bad_names(), *_bad_members(), *_bad_sizes(), *_unreadable()]


def _bad_names() -> list[Refused]:
  cases = [
    Refused(name, zip_of(("good.png", b"1"), (bad, b"2")), reason, bad)
    for name, bad, reason in NAMES
  ]
  for name, first, second, reason in DOUBLES:
    second_ = second.replace("a", "#", 1) if first == second else second
    data = zip_of((first, b"1"), (second_, b"" if second[-1] == "/" else b"2"))
    if second_ != second:
      data = renamed(data, second_.encode(), second.encode())
    cases.append(Refused(name, data, reason, second))
  hidden = renamed(zip_of(("a#.exe", b"2")), b"a#.exe", b"a\0.exe")
  long = zip_of(("n" * 1025, b"1"))
  return [
    *cases,
    Refused("null byte", hidden, "null byte", "a\0.exe"),
    Refused("long name", long, "1024 bytes", "n" * 80 + "..."),
  ]


def _bad_members() -> list[Refused]:
  """Members of another kind than a plain file."""
  one = zip_of(("a.png", b"1"))
  cases = [
    Refused(name, zip_of((entry("a.png", mode | 0o777), b"x")), "link", "a.png")
    for name, mode in (
      ("link", stat.S_IFLNK),
      ("fifo", stat.S_IFIFO),
      ("character device", stat.S_IFCHR),
      ("block device", stat.S_IFBLK),
      ("socket", stat.S_IFSOCK),
    )
  ]
  folder = patched(zip_of(("a.pn#", b"1")), 46, "5s", b"a.pn/")
  return [
    *cases,
    Refused("encrypted", patched(one, 8, "<H", 1), "encrypted", "a.png"),
    Refused("strong", patched(one, 8, "<H", 0x41), "encrypted", "a.png"),
    Refused("masked", patched(one, 8, "<H", 0x2000), "encrypted", "a.png"),
    Refused("patch", patched(one, 8, "<H", 0x20), "a patch", "a.png"),
    Refused("bzip2", zip_of(("a", b"1"), method=12), "method 12; valid", "a"),
    Refused("lzma", zip_of(("a", b"1"), method=14), "method 14; valid", "a"),
    Refused("folder with content", folder, "folder with content", "a.pn/"),
  ]


def _bad_sizes() -> list[Refused]:
  """Bombs, and members whose bytes lie where they cannot."""
  one = zip_of(("a.png", b"1"))
  two = zip_of(("a.png", b"1"), ("b.png", b"2"))
  # Both entries of the directory point at the first member's bytes.
  shared = patched(two, 42, "<L", 0)
  # The first member is said to reach into the second, as quoted headers do.
  quoted = bytearray(zip_of(("a", b"x" * 9), ("b", b"y" * 9), method=0))
  at = quoted.index(b"PK\1\2")
  struct.pack_into("<LL", quoted, at + 20, 49, 49)
  wide = zipfile.ZipInfo("a.png")
  wide.extra = struct.pack("<HHQ", 1, 8, 1 << 60)
  wide = patched(zip_of((wide, b"1")), 24, "<L", 0xFFFFFFFF)
  huge = patched(one, 20, "<LL", HUGE, HUGE)
  beyond = patched(one, 42, "<L", len(one))
  unequal = patched(zip_of(("a", b"1234"), method=0), 24, "<L", 3)
  return [
    Refused("huge and stored", huge, "overlaps the directory", "a.png"),
    Refused("huge by zip64", wide, "two sizes", "a.png"),
    Refused("shared bytes", shared, "overlaps another", "b.png"),
    Refused("quoted header", bytes(quoted), "overlaps another", "a"),
    Refused("beyond the end", beyond, "overlaps the directory", "a.png"),
    Refused("two stored sizes", unequal, "two sizes", "a"),
  ]


def _unreadable() -> list[Refused]:
  """Files that are not zips, or damaged ones."""
  one = zip_of(("a.png", b"1"))
  directory = one.rindex(b"PK\1\2")
  not_utf8 = patched(one, 8, "<H", 0x800).replace(b"a.png", b"\xff.png")
  lost = zipfile.ZipInfo("a.png")
  lost.extra = struct.pack("<HH", 0x7777, 0)
  lost = patched(zip_of((lost, b"1")), 51, "<HH", 1, 0)
  return [
    Refused(name, data, "not a readable zip or tar")
    for name, data in (
      ("no size for zip64", patched(lost, 24, "<L", 0xFFFFFFFF)),
      ("empty file", b""),
      ("text", b"<html>404 Not Found</html>"),
      ("zeros", bytes(10240)),
      ("half a zip", one[: len(one) // 2]),
      ("zip without end", one[:-10]),
      (
        "damaged directory",
        one[:directory] + b"XXXX" + one[directory + 4 :],
      ),
      ("zip name not utf-8", not_utf8),
      ("too new", patched(one, 6, "<H", 255)),
    )
  ]


def lying_zips() -> dict[str, tuple[bytes, str]]:
  """Zips that open, and the reason why "a.png" then cannot be read."""
  stored = zip_of(("a.png", b"12345"), method=zipfile.ZIP_STORED)
  deflated = zip_of(("a.png", b"12345" * 9))
  start = 30 + len("a.png")
  return {
    "bomb": (zip_of(("a.png", bytes(1 << 25))), "200 : 1"),
    "huge": (patched(deflated, 24, "<L", HUGE), "bytes; valid: at most"),
    "size too small": (patched(deflated, 24, "<L", 44), "CRC"),
    "size far too small": (patched(deflated, 24, "<L", 4), "CRC"),
    "size too large": (patched(deflated, 24, "<L", 46), "size differs"),
    "checksum": (patched(stored, 16, "<L", 1), "CRC"),
    "other content": (stored.replace(b"12345", b"12344", 1), "CRC"),
    "other name in the header": (
      stored.replace(b"a.png", b"b.png", 1),
      "header",
    ),
    "no header": (b"XXXX" + stored[4:], "magic number"),
    "longer extra field in the header": (
      patched_local(stored, 28, "<H", 60000),
      "EOFError",
    ),
    "broken stream": (patched_local(deflated, start, "B", 7), "invalid"),
    "cut stream": (patched(deflated, 20, "<L", 3), "CRC"),
  }
