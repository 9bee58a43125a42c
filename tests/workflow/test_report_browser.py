"""The report as a reader sees it: opened in headless Chromium, every figure drawn, the console free of errors."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=1400,1000",
    # Nothing outside the file can be reached, so that a page that needs it shows.
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
]  # fmt: skip
PATIENCE_SECONDS = 60

DRAWN = """(async () => {
    const images = [...document.querySelectorAll('%s')];
    const seen = [];
    for (const image of images) {
        await image.decode().catch(() => null);
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth || 1, image.naturalHeight || 1];
        const context = canvas.getContext('2d');
        context.fillStyle = 'white';
        context.fillRect(0, 0, canvas.width, canvas.height);
        if (image.naturalWidth) context.drawImage(image, 0, 0);
        const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        seen.push({
            source: image.src, natural: image.naturalWidth, shown: image.getBoundingClientRect().width,
            colours: new Set(pixels).size
        });
    }
    return seen;
})()"""


class Browser:
    """One page of a headless Chromium, driven by the Chrome DevTools Protocol over a pipe."""

    def __init__(self, profile: Path) -> None:
        self.errors: list[str] = []
        """Errors in the console, uncaught exceptions, and failed loads."""
        self.requests: list[str] = []
        """Addresses that pages asked for."""
        self._loaded = False
        self._numbers = itertools.count(1)
        self._buffer = b""
        # Chromium reads commands from descriptor 3 and writes to 4. Ours are moved out of their way first.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (*os.pipe(), *os.pipe())]
        commands, self._write, self._read, answers = ends
        self._log = (profile.with_suffix(".log")).open("w+")
        self._process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash",
                CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(commands, answers), stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        """The next message of the browser."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            if not chunk:
                self._log.seek(0)
                raise RuntimeError(f"Chromium is silent; its last words: {self._log.read()[-2000:]}")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, details = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            thrown = details["exceptionDetails"]
            self.errors.append(thrown.get("exception", {}).get("description", thrown["text"])[:500])
        elif method == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
            self.errors.append(json.dumps(details["args"])[:500])
        elif method == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"]["text"][:500])
        elif method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"][:200])

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come first are noted."""
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": arguments}
        if self._session:
            command["sessionId"] = self._session
        rest = json.dumps(command).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._write, rest) :]
        while True:
            message = self._message()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def open(self, file: Path) -> None:
        """Open a local file and wait until it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=file.as_uri())
        while not self._loaded:
            self._note(self._message())

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression (of its promise), once the page has been drawn again."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        self.call(
            "Runtime.evaluate",
            expression="new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))",
            awaitPromise=True,
        )
        return result["result"].get("value")

    def run_in_frame(self, script: str) -> Any:
        """Value of a JavaScript expression inside the frame of the page, once there is something in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            (child,) = self.call("Page.getFrameTree")["frameTree"]["childFrames"]
            world = self.call("Page.createIsolatedWorld", frameId=child["frame"]["id"])["executionContextId"]
            result = self.call("Runtime.evaluate", expression=script, contextId=world, returnByValue=True)
            if "exceptionDetails" not in result:
                return result["result"]["value"]
            time.sleep(0.1)
        raise AssertionError(f"the frame shows {child['frame']['url'][:40]!r}; {script} failed")

    def click(self, selector: str, index: int = 0) -> None:
        """Click an element."""
        self.run(f"document.querySelectorAll({json.dumps(selector)})[{index}].click()")

    def click_text(self, text: str) -> None:
        """Click the menu item of this name."""
        self.run(
            f"[...document.querySelectorAll('nav li a')].find(a => a.innerText.trim() === {json.dumps(text)}).click()"
        )

    def drawn(self, selector: str) -> list[dict[str, Any]]:
        """Of each image: its source, natural and shown width, and the number of colours that it draws."""
        return self.run(DRAWN % selector)

    def close(self) -> None:
        """End the processes that were started here."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._log.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile")
    try:
        yield browser
    finally:
        browser.close()


def check_drawn(image: dict[str, Any], name: str) -> None:
    """The image is there, large enough to read, and not blank."""
    assert image["natural"] > 300, f"{name} is not drawn: {image}"
    assert image["shown"] > 300, f"{name} is not shown: {image}"
    assert image["colours"] > 5, f"{name} is blank"


def test_every_figure_of_the_report_is_drawn(browser: Browser, report_html: Path) -> None:
    browser.open(report_html)
    results = browser.run(
        "Object.fromEntries(Object.entries(results).map(([path, r]) => [path, [r.mime_type, r.caption]]))"
    )
    figures = {
        str(path.relative_to(report_html.parent)) for path in report_html.parent.glob("results/**/figures/*/*.svg")
    }
    assert figures
    assert {path for path, (mime, _) in results.items() if mime.startswith("image/")} == figures
    assert all("<p>" in caption for _, caption in results.values())

    shown = set()
    for category in browser.run("Object.keys(categories)"):
        browser.click("nav nav a")
        browser.click_text(category)
        for row in range(browser.run("document.querySelectorAll('nav tbody tr').length")):
            view = f"nav tbody tr:nth-of-type({row + 1}) div[role=group] a"
            if browser.run(f"document.querySelector({json.dumps(view)}).hasAttribute('download')"):
                continue  # a table
            browser.click(view)
            path = browser.run("app.state.resultPath")
            shown.add(path)
            if path in figures:
                (image,) = browser.drawn("#app > div > div:last-child img")
                assert image["source"] == browser.run(f"results[{json.dumps(path)}].data_uri")
                check_drawn(image, path)
            else:
                assert "collapsed (" in browser.run_in_frame("document.querySelector('.answer').innerText"), path
    assert shown == {path for path, (mime, _) in results.items() if mime.startswith(("image/", "text/html"))}

    for page in ("Workflow", "Statistics", "About"):
        browser.click("nav nav a")
        browser.click_text(page)
    assert browser.errors == []
    assert all(address.startswith(("file:", "data:")) for address in browser.requests)


def test_summary_stands_alone(browser: Browser, report_html: Path, tmp_path: Path) -> None:
    """Away from every other file, and read on a phone as well."""
    (summary,) = report_html.parent.glob("results/**/summary.html")
    alone = tmp_path / "alone" / "summary.html"
    alone.parent.mkdir()
    shutil.copy(summary, alone)
    browser.open(alone)
    images = browser.drawn("img")
    assert len(images) == len(list(report_html.parent.glob("results/**/figures/*/*.svg")))
    for number, image in enumerate(images):
        check_drawn(image, f"figure {number} of the summary")
    assert "collapsed (" in browser.run("document.querySelector('.answer').innerText")
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=2, mobile=True)
    assert browser.run("document.documentElement.scrollWidth") <= 380
    assert browser.errors == []
    assert browser.requests[0] == alone.as_uri()
    assert all(address.startswith("data:") for address in browser.requests[1:])


def test_the_viewer_plays_the_collapses_of_the_table(browser: Browser, report_html: Path) -> None:
    """Each replica of the viewer is one of the table, and the atoms that it marks are those that failed there."""
    (summary,) = report_html.parent.glob("results/**/summary.html")
    (table,) = summary.parent.glob("*/survival/replicas.csv")
    replicas = pd.read_csv(table)
    assert replicas["collapsed"].any(), "nothing to play"
    browser.open(summary)
    assert browser.run("document.querySelector('.viewer').dataset.ready") == "yes"
    chosen = browser.run("[...document.querySelectorAll('[data-part=choice] option')].map(option => option.text)")
    for number, text in enumerate(chosen):
        browser.run(
            "(() => { const choice = document.querySelector('[data-part=choice]');"
            f" choice.value = {number}; choice.dispatchEvent(new Event('change')); }})()"
        )
        arm, seed, replica = re.match(r"(.+), seed (\d+), replica (\d+): collapsed", text).groups()
        row = replicas.query("arm == @arm and seed == @seed and replica == @replica", local_dict={
            "arm": arm, "seed": int(seed), "replica": int(replica)
        }).iloc[0]  # fmt: skip
        assert row["collapsed"]
        marked = "" if row["cause"] == "non_finite" else f"{row['atom_i']:.0f}-{row['atom_j']:.0f}"
        assert browser.run("document.querySelector('[data-part=collapse]').dataset.marked") == marked
    (canvas,) = browser.run("[...document.querySelectorAll('[data-part=collapse]')].map(c => c.toDataURL().length)")
    assert canvas > 2000, "the molecule is not drawn"
    browser.click("[data-part=play]")
    assert browser.run("document.querySelector('[data-part=play]').textContent") == "Pause"
    frame = "Number(document.querySelector('[data-part=collapse]').dataset.frame)"
    first = browser.run(frame)
    assert browser.run(f"new Promise(done => setTimeout(() => done({frame}), 400))") >= first
    assert browser.errors == []


def test_the_checks_see_a_broken_page(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text(
        """<!DOCTYPE html><img src="data:image/png;base64,AAAA"><img width=400
        src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='400' height='300'/%3E">
        <script src="https://example.org/x.js"></script>
        <script>console.error("first"); throw Error("second")</script>"""
    )
    browser.open(page)
    broken, blank = browser.drawn("img")
    with pytest.raises(AssertionError, match="is not drawn"):
        check_drawn(broken, "broken")
    with pytest.raises(AssertionError, match="is blank"):
        check_drawn(blank, "blank")
    errors = "\n".join(browser.errors)
    for expected in ("first", "second", "ERR_NAME_NOT_RESOLVED"):
        assert expected in errors
    assert "https://example.org/x.js" in browser.requests
