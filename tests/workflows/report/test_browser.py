"""The page in a real browser: what it loads, and whether it fits."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.report.fake_run import FakeRun
from workflows.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--allow-file-access-from-files", "--virtual-time-budget=5000",
)  # fmt: skip
TIMEOUT_SECONDS = 60
WIDTHS = (320, 400, 800, 1300)
# A frame of each width, so that the page itself needs no script; what is found is left in the title.
HARNESS = """<!doctype html><title>none</title><body>%s<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
    const wide = [...page.querySelectorAll("body *")].filter(e =>
      !e.closest(".scroll") && !e.closest("svg") && e.getBoundingClientRect().right > view.innerWidth + 0.5);
    return {
      width: view.innerWidth,
      overflow: root.scrollWidth - root.clientWidth,
      wide: wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120)),
      loaded: view.performance.getEntriesByType("resource").map(e => e.name),
      drawn: [...page.querySelectorAll("svg")].filter(e => e.getBoundingClientRect().height > 20).length,
      background: view.getComputedStyle(page.body).backgroundColor,
      opened: [...page.querySelectorAll("details")].filter(e => e.open).length,
    };
  });
  document.title = JSON.stringify(found);
});</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


def look(folder: Path, frames: list[str], *flags: str) -> list[dict[str, Any]]:
    """What the browser finds in each frame (`<iframe ...>` elements)."""
    harness = folder / "harness.html"
    harness.write_text(HARNESS % "".join(frames))
    command = [str(CHROMIUM), *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", harness.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None, done.stderr
    found: list[dict[str, Any]] = json.loads(title[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    return found


def frame(file: str, width: int) -> str:
    """A frame of this width."""
    return f'<iframe src="{file}" style="width:{width}px;height:900px;border:0"></iframe>'


def test_page_fits_and_loads_nothing(done_run: FakeRun, tmp_path: Path) -> None:
    """From 320 to 1300 pixels nothing sticks out at the right, all drawings are drawn, and nothing is requested."""
    write_report(done_run.nodes, tmp_path / "report.html", "pretrain")
    text = (tmp_path / "report.html").read_text()
    for found, width in zip(look(tmp_path, [frame("report.html", w) for w in WIDTHS]), WIDTHS, strict=True):
        assert found["width"] == width
        assert found["overflow"] == 0
        assert found["wide"] == []
        assert found["loaded"] == []
        assert found["drawn"] == text.count("<svg ")


def test_the_harness_sees_what_it_looks_for(tmp_path: Path) -> None:
    """A page that is too wide and asks for an image is found out, so that the test above can fail."""
    wide = '<!doctype html><body><div style="width:900px">x</div><img src="http://127.0.0.1:9/x.png">'
    (tmp_path / "wide.html").write_text(wide)
    (found,) = look(tmp_path, [frame("wide.html", 400)])
    assert found["overflow"] > 400
    assert found["wide"]
    assert found["loaded"] == ["http://127.0.0.1:9/x.png"]


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the paths that it was asked for."""
    paths: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        """Notes what it is asked for and has nothing."""

        def do_GET(self) -> None:
            """Note the path."""
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.mark.parametrize("policy", [True, False], ids=["with policy", "without"])
def test_policy_of_the_page_blocks_requests(
    tmp_path: Path, page: str, asked: tuple[str, list[str]], *, policy: bool
) -> None:
    """Even if markup slipped in, the page's policy keeps it from asking a server or running a script; only that does."""
    address, paths = asked
    slipped = f'<img src="{address}/x.png"><script>document.querySelector("main").remove()</script></body>'
    text = page.replace("</body>", slipped)
    if not policy:
        text = text.replace('http-equiv="Content-Security-Policy"', "")
    (tmp_path / "slipped.html").write_text(text)
    (found,) = look(tmp_path, [frame("slipped.html", 800)])
    assert (paths, found["drawn"] > 0) == (([], True) if policy else (["/x.png"], False))


@pytest.mark.parametrize(("scheme", "dark"), [(0, True), (1, False)], ids=["dark", "light"])
def test_follows_the_readers_colour_scheme(tmp_path: Path, page: str, scheme: int, *, dark: bool) -> None:
    """The background is dark for readers who prefer that, light for others."""
    (tmp_path / "report.html").write_text(page)
    flag = f"--blink-settings=preferredColorScheme={scheme}"
    (found,) = look(tmp_path, [frame("report.html", 800)], flag)
    channels = [int(c) for c in re.findall(r"\d+", found["background"])]
    assert (max(channels) < 60) is dark


def test_link_to_a_stage_opens_its_details(tmp_path: Path, page: str) -> None:
    """Following a box of the graph opens the folded details of that stage, and no others."""
    (tmp_path / "report.html").write_text(page)
    plain, linked = look(tmp_path, [frame("report.html", 800), frame("report.html#stage-3", 800)])
    assert plain["opened"] == 0
    assert linked["opened"] == 1
