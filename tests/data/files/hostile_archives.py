"""What hostile zips and tars of the tests have in common."""

import dataclasses

CONTENT = {"d/a.png": b"first", "d/b.png": bytes(range(256)) * 5, "e": b""}
HUGE = (1 << 28) + 1


@dataclasses.dataclass(frozen=True)
class Refused:
  """An archive that is not opened.

  Attributes:
    name: what is wrong with it.
    data: the file.
    reason: part of the error's line.
    member: which is named there; None where there is none to name.
  """

  name: str
  data: bytes
  reason: str
  member: str | None = None


NAMES = (
  ("traversal", "../evil.png", "leaves the archive"),
  ("traversal further in", "a/../../evil.png", "leaves the archive"),
  ("folder above", "a/..", "leaves the archive"),
  ("absolute name", "/etc/passwd", "absolute"),
  ("drive letter", "C:/evil.png", "absolute"),
  ("drive letter alone", "C:evil.png", "absolute"),
  ("backslash", "a\\b.png", "backslash"),
  ("backslashes upwards", "..\\evil.png", "backslash"),
  ("share of a server", "\\\\server\\share", "backslash"),
  ("control character", "a\x1b[2Jb.png", "control character"),
  ("newline", "a\nb.png", "control character"),
  ("line separator", "a\u2028b.png", "control character"),
  ("no name but a dot", ".", "empty name"),
)
DOUBLES = (
  ("twice", "a.png", "a.png", "a duplicate name"),
  ("twice but for ./", "a.png", "./a.png", "a duplicate name"),
  ("twice but for //", "d/a.png", "d//a.png", "a duplicate name"),
  ("twice but for /./", "d/a.png", "d/./a.png", "a duplicate name"),
  ("file, then folder", "a", "a/b.png", "below 'a', which is a file"),
  ("file, then empty folder", "a", "a/", "below 'a', which is a file"),
  ("folder, then file", "a/b.png", "a", "a file that is also a folder"),
)
