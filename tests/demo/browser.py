"""Chromium without a window, driven through its pipe of the DevTools protocol.

Messages are JSON, each ended by a zero byte; the browser reads them from file
descriptor 3 and writes to 4. So there is no port and no web socket.
"""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
  "--headless=new",
  "--remote-debugging-pipe",
  "--no-sandbox",  # which root and many containers may not have
  "--no-first-run",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-dev-shm-usage",
  "--hide-scrollbars",
)
_SECONDS = 60.0
PHONE, DESKTOP = (390, 844), (1280, 900)


class Browser:
  """A page of a browser.

  Attributes:
    complaints: what it said of scripts that fail and of what it has blocked.
  """

  def __init__(self, reading: int, writing: int):
    self._reading, self._writing = reading, writing
    self._number, self._received, self._loaded = 0, b"", 0
    self._session: dict[str, str] = {}
    self.complaints: list[str] = []
    target = self.send("Target.createTarget", url="about:blank")["targetId"]
    attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
    self._session = {"sessionId": attached["sessionId"]}
    for domain in ("Page", "Runtime", "Log", "DOM"):
      self.send(f"{domain}.enable")

  def send(self, method: str, **params: Any) -> dict[str, Any]:
    """Sends a command; returns its result."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": params}
    text = json.dumps(message | self._session).encode() + b"\0"
    while text:
      text = text[os.write(self._writing, text) :]
    while (answer := self._next()).get("id") != self._number:
      pass
    assert "error" not in answer, answer
    return answer["result"]

  def open(
    self, url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False
  ) -> None:
    """Opens an address in a window of a size."""
    width, height = size
    phone = width < 600
    self.send(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=2 if phone else 1,
      mobile=phone,
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else ""}
    self.send("Emulation.setEmulatedMedia", features=[scheme])
    before = self._loaded
    self.send("Page.navigate", url=url)
    while self._loaded == before:
      self._next()

  def run(self, script: str) -> Any:
    """Runs JavaScript; returns its value, once a promise has one."""
    answer = self.send(
      "Runtime.evaluate",
      expression=script,
      awaitPromise=True,
      returnByValue=True,
    )
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"].get("value")

  def wait(self, script: str) -> Any:
    """Waits until a script has a value that is true; returns the value."""
    deadline = time.monotonic() + _SECONDS
    while not (value := self.run(script)):
      assert time.monotonic() < deadline, script
      time.sleep(0.05)
    return value

  def choose(self, selector: str, *paths: pathlib.Path) -> None:
    """Chooses files, as a user does in a field for them."""
    root = self.send("DOM.getDocument")["root"]["nodeId"]
    found = self.send("DOM.querySelector", nodeId=root, selector=selector)
    self.send(
      "DOM.setFileInputFiles",
      nodeId=found["nodeId"],
      files=list(map(str, paths)),
    )

  def press(self, key: str, code: int = 0, text: str = "") -> None:
    """Presses a key of the keyboard."""
    for kind in ("keyDown", "keyUp"):
      self.send(
        "Input.dispatchKeyEvent",
        type=kind,
        key=key,
        code=key,
        windowsVirtualKeyCode=code,
        text=text if kind == "keyDown" else "",
      )

  def picture(self) -> bytes:
    """Returns a PNG of the whole page."""
    answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
    return base64.b64decode(answer["data"])

  def _next(self) -> dict[str, Any]:
    while b"\0" not in self._received:
      ready, _, _ = select.select([self._reading], [], [], _SECONDS)
      assert ready, "the browser does not answer"
      received = os.read(self._reading, 1 << 16)
      assert received, "the browser has ended"
      self._received += received
    text, _, self._received = self._received.partition(b"\0")
    message = json.loads(text)
    self._loaded += message.get("method") == "Page.loadEventFired"
    if message.get("method") == "Runtime.exceptionThrown":
      self.complaints.append(json.dumps(message["params"]))
    if message.get("method") == "Log.entryAdded":
      self.complaints.append(json.dumps(message["params"]["entry"]))
    return message


@contextlib.contextmanager
def started() -> Iterator[Browser]:
  """Starts a browser; skips the test where none is installed."""
  program = next(filter(None, map(shutil.which, _NAMES)), None)
  if program is None:
    pytest.skip(f"no browser is installed: {', '.join(_NAMES)}")
  theirs_in, ours_out = os.pipe()
  ours_in, theirs_out = os.pipe()
  free = max(theirs_in, theirs_out) + 1
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
    process = os.posix_spawn(
      program,
      [program, *_FLAGS, f"--user-data-dir={profile}"],
      {**os.environ, "HOME": profile},
      file_actions=[
        # Out of the way first: one of them may be 3 or 4.
        (os.POSIX_SPAWN_DUP2, theirs_in, free),
        (os.POSIX_SPAWN_DUP2, theirs_out, free + 1),
        (os.POSIX_SPAWN_DUP2, free, 3),
        (os.POSIX_SPAWN_DUP2, free + 1, 4),
        (os.POSIX_SPAWN_CLOSE, free),
        (os.POSIX_SPAWN_CLOSE, free + 1),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
      ],
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
      yield Browser(ours_in, ours_out)
    finally:
      os.close(ours_out)  # which ends it
      os.close(ours_in)
      os.waitpid(process, 0)
