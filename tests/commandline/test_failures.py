"""Tests of failures of the machine, such as a full disk."""

import errno
import json
import logging
import sys

import pytest
from absl import logging as absl_logging

from mn_jax.commandline import failures, program
from tests.test_main import command, finish

FULL = OSError(errno.ENOSPC, "No space left on device", "/disk/a")
# As tensorstore says it.
TENSORSTORE = ValueError(
  'RESOURCE_EXHAUSTED: Error writing "step/0" in OCDBT database at local file '
  '"/disk/2.orbax-checkpoint-tmp/": Failed writing: "/disk/_sharding.__lock": '
  "Failed to write 9144 bytes: File too large [os_error_code='27']"
)


# Runs a command whose files can have so many bytes.
LIMITED = """
import os, resource, sys
_, size, *line = sys.argv
resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
os.execv(line[0], line)
"""


def raised_for(error):
  """An exception that was raised while another was handled."""
  try:
    try:
      raise error
    except Exception:
      raise RuntimeError("the save failed")  # noqa: B904
  except RuntimeError as outer:
    return outer


def test_the_reason_is_one_line_with_the_file():
  full = "No space left on device"
  for error, expected in (
    (FULL, f"{full}: /disk/a"),
    (OSError(errno.ENOSPC, full), full),
    (MemoryError(), "Cannot allocate memory"),
    (TENSORSTORE, "File too large: /disk/2.orbax-checkpoint-tmp/"),
    (raised_for(FULL), f"{full}: /disk/a"),
    (raised_for(TENSORSTORE), "File too large: /disk/2.orbax-checkpoint-tmp/"),
    (OSError("no number"), None),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
    (ValueError("RESOURCE_EXHAUSTED: 9 bytes"), None),
    (raised_for(KeyError("a")), None),
  ):
    assert failures.reason(error) == expected


def test_programs_report_it_and_exit_with_1(capsys):
  def failing(error):
    def start(argv):
      raise error

    return program.run("toy", start, [], hint=program.RESUMES)

  assert failing(raised_for(FULL)) == 1
  assert capsys.readouterr().err == (
    "toy: No space left on device: /disk/a; the same command resumes once this "
    "is fixed\n"
  )
  with pytest.raises(RuntimeError, match="the save failed"):
    failing(raised_for(KeyError("a")))


def test_threads_print_only_what_the_main_thread_will_not_raise(monkeypatch):
  absl, other = absl_logging.get_absl_logger(), logging.getLogger("asyncio")
  unraisable = []
  monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
  for logger in (absl, other):
    monkeypatch.setattr(logger, "filters", [])
  failures.silence_echoes()

  def is_shown(logger, error, path):
    caught = (type(error), error, None)
    return bool(
      logger.filter(
        logging.LogRecord("", logging.ERROR, path, 1, "", (), caught)
      )
    )

  assert not is_shown(other, FULL, "asyncio/base_events.py")
  assert is_shown(other, KeyError(), "asyncio/base_events.py")
  assert not is_shown(absl, KeyError(), "orbax/checkpoint/future.py")
  assert is_shown(absl, KeyError(), "orbax/checkpoint/other.py")

  def call_soon_threadsafe():
    raise RuntimeError("Event loop is closed")

  for function, count in ((call_soon_threadsafe, 0), (lambda: 1 / 0, 1)):
    try:
      function()
    except Exception as error:
      trace = error.__traceback__
    sys.unraisablehook(type("Unraisable", (), {"exc_traceback": trace}))
    assert len(unraisable) == count


@pytest.mark.extended
def test_a_run_that_cannot_write_is_one_line_and_resumes(tmp_path):
  """Files of at most some KiB, which stand for a full disk."""
  summaries = {}
  for name, limits in (("free", ()), ("limited", (3, 40))):
    for kibibytes in limits:
      size = str(kibibytes * 1024)
      failed = finish(
        [sys.executable, "-c", LIMITED, size, *command(tmp_path / name)]
      )
      assert failed.returncode == 1
      assert failed.stderr.startswith("mn_jax: File too large")
      assert failed.stderr.count("\n") == 1
    assert finish(command(tmp_path / name)).returncode == 0
    path = tmp_path / name / "summary.json"
    summaries[name] = json.loads(path.read_text())["state_sha256"]
  assert summaries["limited"] == summaries["free"]
