"""A page in headless Chromium, over the pipe that it offers for debugging: what it says, loads and draws.

Also a command that makes a picture of a page: `python -m tests.browser PAGE.html PICTURE.png [HEIGHT]`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE_S = 60.0
_READY = "document.readyState === 'complete' && (!window.Bokeh || Bokeh.documents.every(d => d.is_idle))"
# All canvases, those in shadow trees too, and how many of their pixels have been painted.
_CANVASES = """(() => {
  const found = [];
  const walk = root => {
    for (const element of root.querySelectorAll('*')) {
      if (element.tagName === 'CANVAS' && element.width && element.height) {
        const pixels = element.getContext('2d').getImageData(0, 0, element.width, element.height).data;
        let painted = 0;
        for (let at = 3; at < pixels.length; at += 4) painted += pixels[at] > 0;
        found.push(painted);
      }
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  return found;
})()"""

_FIRST_PLOT = """(() => {
  const plot = document.querySelector('[data-root-id]').firstElementChild;
  plot.scrollIntoView({block: 'center'});
  const box = plot.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + %g * box.height];
})()"""
_TOOLTIP = """(() => {
  let found = '';
  const walk = root => {
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) {
        if (element.classList.contains('bk-Tooltip') || element.matches('[class*=tooltip i]'))
          found += element.shadowRoot.textContent;
        walk(element.shadowRoot);
      }
    }
  };
  walk(document);
  return found;
})()"""


class Browser:
    """One page of a browser. A context manager; `complaints` are what the console and the page's scripts said."""

    def __init__(self, width: int = 1240, height: int = 900) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory()
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        words = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--no-first-run", "--remote-debugging-pipe",
            f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        # The pipe has to be file descriptors 3 and 4 over there.
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *words]
        self._process = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._calls = b"", 0
        self.complaints: list[str] = []
        self.asked: list[str] = []  # addresses that the page wanted something from, but for what it holds itself
        pages = self._call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in pages if info["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._page(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("Browser.close")
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired, TimeoutError):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def open(self, path: Path) -> None:
        """Load a file and wait until all is drawn."""
        self._page("Page.navigate", url=path.resolve().as_uri())
        until_s = time.monotonic() + _PATIENCE_S
        while not self.value(_READY):
            if time.monotonic() > until_s:
                raise TimeoutError(f"{path} is not drawn after {_PATIENCE_S:g} s; {self.complaints}")
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is, as plain values."""
        found = self._page("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def painted(self) -> list[int]:
        """Of each canvas of the page, how many pixels are painted."""
        return list(self.value(_CANVASES))

    def point_at(self, share: float) -> None:
        """Put the mouse on the middle of the first plot, `share` of its height down."""
        x, y = self.value(_FIRST_PLOT % share)
        for step in (6, 3, 0):
            self._page("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y + step)

    def tooltip(self) -> str:
        """The text of the tooltip that is shown; waits for one."""
        until_s = time.monotonic() + _PATIENCE_S
        while not (found := self.value(_TOOLTIP)):
            if time.monotonic() > until_s:
                raise TimeoutError("no tooltip is shown")
            time.sleep(0.05)
        return str(found)

    def picture(self, height: int | None = None) -> bytes:
        """The page as PNG, from its top down to `height` pixels, or all of it."""
        size = self._page("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        made = self._page("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(made["data"])

    def _page(self, method: str, **params: Any) -> dict[str, Any]:
        return self._call(method, self._session, **params)

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]
            self._take(answer)

    def _message(self) -> dict[str, Any]:
        until_s = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until_s - time.monotonic()))
            part = os.read(self._in, 1 << 16) if ready else b""
            if not part:
                raise TimeoutError("the browser does not answer")
            self._read += part
        first, _, self._read = self._read.partition(b"\0")
        return json.loads(first)

    def _take(self, event: dict[str, Any]) -> None:
        told, method = event.get("params", {}), event.get("method")
        if method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in told["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            address = told["request"]["url"]
            if not address.startswith("data:"):
                self.asked.append(address)


if __name__ == "__main__":
    page, picture, *rest = sys.argv[1:]
    with Browser() as browser:
        browser.open(Path(page))
        time.sleep(0.5)  # for toolbars to fade
        Path(picture).write_bytes(browser.picture(int(rest[0]) if rest else None))
        print(browser.complaints, browser.asked, browser.painted())  # noqa: T201
