"""Streams of programs: whoever reads them, in whatever encoding."""

import os
import subprocess
import sys

TOOL = """
import sys
from mn_jax.commandline import program
from mn_jax.observe.console import Console

def tool(argv):
  console = Console(needs_reader="alone" not in sys.argv)
  for _ in range(9):
    console.line("x" * 9999)
    if "print" in sys.argv:
      print("x" * 9999)
  print("done", file=sys.stderr)

sys.exit(program.run("tool", tool))
"""
NAMES = """
import sys
from mn_jax.commandline import program
from mn_jax.observe.console import Console

def tool(argv):
  Console().table("T", ("caf\\xe9", "b"), [("\\u732b", "\\U0001f436")])
  sys.stdout.reconfigure(errors=program.FILE_NAMES)
  print("\\xe9 \\u732b \\udce9")

sys.exit(program.run("tool", tool))
"""


def test_a_reader_that_goes_away_is_no_traceback():
  """It ends a program, but for one that has more to do than to print."""
  for words, expected in (
    ((), (141, "")),
    (("print",), (141, "")),
    (("alone",), (0, "done\n")),
  ):
    with subprocess.Popen(
      [sys.executable, "-c", TOOL, *words],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    ) as child:
      child.stdout.close()
      errors = child.stderr.read()
    assert (child.returncode, errors) == expected


def test_text_that_an_encoding_lacks_is_escaped():
  for encoding, cafe, line in (
    ("cp1252", "café", b"\xe9 \\u732b \xe9\n"),
    ("latin-1", "café", b"\xe9 \\u732b \xe9\n"),
    ("ascii", "caf\\xe9", b"\\xe9 \\u732b \xe9\n"),
    ("utf-8", "café", b"\xc3\xa9 \xe7\x8c\xab \xe9\n"),
  ):
    done = subprocess.run(
      [sys.executable, "-c", NAMES],
      env={**os.environ, "PYTHONIOENCODING": encoding},
      capture_output=True,
      check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(line)
    table = done.stdout.removesuffix(line).decode(encoding)
    assert cafe in table
    if encoding != "utf-8":
      assert "\\u732b" in table
      assert "\\U0001f436" in table
      assert "+--" in table


CLOSED = """
import os, sys
from mn_jax.commandline import program
from mn_jax.errors import InputError

def tool(argv):
  with open(sys.argv[1], "w") as file:
    print("of the terminal", flush=True)
    print("of the terminal", file=sys.stderr, flush=True)
    os.write(1, b"of a library")
    file.write("kept")
  sys.stdout.reconfigure(errors=program.FILE_NAMES)
  raise InputError("wrong")

sys.exit(program.run("tool", tool))
"""


def test_what_is_printed_to_closed_streams_is_in_no_file(tmp_path):
  """`>&-` of a shell, or a service without a terminal."""
  path = tmp_path / "file"
  for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
    done = subprocess.run(
      ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", CLOSED, path],
      capture_output=True,
      check=False,
      text=True,
    )
    assert done.returncode == 2
    assert done.stderr in ("", "of the terminal\ntool: wrong\n")
    assert path.read_text() == "kept"
