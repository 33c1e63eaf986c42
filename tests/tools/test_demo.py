"""The program that serves a page to try a run, as its users start it."""

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
import webbrowser

import pytest

from mn_jax.demo import server
from mn_jax.tools import demo
from tests import programs

pytestmark = pytest.mark.usefixtures("standard_promotion")


def start(capsys, *arguments):
  code = demo.main([*map(str, arguments)])
  return code, *capsys.readouterr()


def test_mistakes_are_one_line(run, tmp_path, capsys):
  with server.Server() as other:
    for arguments, text in (
      ([f"--workdir={tmp_path}"], "whose config.json cannot be read"),
      ([], "--workdir"),
      ([f"--workdir={run}", "--port=-1"], "--port: got -1; valid: 0 to 65535"),
      ([f"--workdir={run}", "--port=65536"], "--port: got 65536; valid: "),
      (
        [f"--workdir={run}", f"--port={other.server_port}"],
        f"--port: got {other.server_port} (Address already in use); valid: ",
      ),
      ([f"--workdir={run}", "--step=7"], "--step: got 7; valid: "),
      ([f"--workdir={run}", "more"], "more"),
    ):
      code, out, err = start(capsys, *arguments)
      assert (code, out) == (2, "")
      assert err.startswith("demo: ")
      assert err.count("\n") == 1
      assert text in err


def test_the_page_is_opened_once_it_is_ready(run, capsys, monkeypatch):
  opened = []
  monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url))
  monkeypatch.setattr(server.Server, "serve_forever", lambda self: None)
  code, out, err = start(capsys, f"--workdir={run}", "--open")
  assert (code, err) == (0, "")
  assert "Without prediction sets that miss 10%: conformal: got 0.1" in out
  (url,) = opened
  assert f" s: {url}\n" in out
  assert url.startswith("http://127.0.0.1:")
  assert "No browser was found here" in out


@pytest.mark.extended
def test_it_serves_until_ctrl_c(run, tmp_path):
  workdir = shutil.copytree(run, tmp_path / "run")
  (workdir / "reference.npz").unlink()
  before = {x: x.stat().st_mtime_ns for x in workdir.rglob("*")}
  program = subprocess.Popen(
    [
      *(sys.executable, "-m", "mn_jax.tools.demo", f"--workdir={workdir}"),
      "--without-data",
    ],
    cwd=programs.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    lines = [program.stdout.readline() for _ in range(5)]
    assert lines[0] == (
      "Without examples, thumbnails and slides: --without-data was given\n"
    )
    assert lines[1].startswith("Without strangeness and nearest training")
    assert lines[2].startswith("Without prediction sets that miss 5%: ")
    assert lines[4].startswith("Ready after ")
    url = lines[4].split()[-1]
    assert url.startswith("http://127.0.0.1:")
    request = urllib.request.Request(
      f"{url}run", headers={"Sec-Fetch-Site": "same-origin"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
      described = json.load(answer)
    assert described["workdir"] == str(workdir)
    assert described["examples"] == 0
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=30)
  finally:
    program.kill()
  assert program.returncode == 130
  assert errors == "demo: stopped\n"
  assert {x: x.stat().st_mtime_ns for x in workdir.rglob("*")} == before
