import http.server
import json
import math
import shutil
import subprocess
import threading

import pytest

from workflows.report import formats


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0, "0"),
        (1234567, "1,234,567"),
        (3.0, "3"),
        (0.00012345, "0.0001234"),
        (12345.678, "12,346"),
        (999.96, "1000"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_number(value: float | None, words: str) -> None:
    """Integers have separators, other numbers four digits, and what is no number says so."""
    assert formats.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (9999, "9,999"), (10_000, "10k"), (12_345, "12.3k"), (999_499, "999k"), (999_999, "1000k"), (1_000_000, "1M"), (4.5e9, "4.5B"), (2e13, "20T")],
)  # fmt: skip
def test_compact(value: int, words: str) -> None:
    """Counts fit into a small box."""
    assert formats.compact(value) == words
    assert len(formats.compact(value)) <= 5


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 * 1024, "10 KiB"), (5 << 20, "5.0 MiB"), (6 << 30, "6.0 GiB"), (3 << 40, "3.0 TiB")],
)  # fmt: skip
def test_size(value: int | None, words: str) -> None:
    """Bytes are in binary units."""
    assert formats.size(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.123, "0.12 s"), (4.25, "4.2 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7440, "2 h 04 min")],
)  # fmt: skip
def test_duration(value: float | None, words: str) -> None:
    """Seconds carry over into minutes and hours; 60 seconds are never shown."""
    assert formats.duration(value) == words


def test_moment() -> None:
    """Times of any zone are shown in UTC; what is none is shown as it is."""
    assert formats.moment("2026-11-25T16:30:00+02:00") == "2026-11-25 14:30 UTC"
    assert formats.moment("yesterday") == "yesterday"
    assert formats.moment("") == "–"
    assert formats.moment(None) == "–"


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.4123, 0.0234, "0.412 ± 0.023"),
        (0.4123, 0.0999, "0.412 ± 0.100"),
        (12.3, 2.5, "12.3 ± 2.5"),
        (1234.5, 120.0, "1,234 ± 120"),
        (0.5, None, "0.5"),
        (0.5, 0.0, "0.5"),
        (0.5, math.nan, "0.5"),
    ],
)
def test_plus_minus(value: float, error: float | None, words: str) -> None:
    """The error has two significant digits and the value as many decimals; without an error there is no sign."""
    assert formats.plus_minus(value, error) == words


def test_share_and_signed_and_shorten() -> None:
    """A part of nothing is no percentage; a change shows its sign; cut text shows that it is cut."""
    assert formats.share(1, 3) == "33.3 %"
    assert formats.share(1, 0) == "–"
    assert formats.signed(-2.5) == "−2.5000"
    assert formats.signed(0.31) == "+0.3100"
    assert formats.shorten("abcdef", 6) == "abcdef"
    assert formats.shorten("abcdefg", 6) == "abcde…"


@pytest.mark.parametrize(
    "base", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/v1/chat/completions"]
)
def test_curl_line_has_one_path(base: str) -> None:
    """However the address was recorded, the line asks for chat completions."""
    assert formats.curl_line(base, "m", "p").split()[1] == "http://h:1/v1/chat/completions"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on the PATH")
def test_curl_line_works_when_pasted() -> None:
    """A shell runs the line as it stands, with quotes, dollars and newlines of the prompt untouched."""
    bodies: list[bytes] = []

    class Server(http.server.BaseHTTPRequestHandler):
        """Keeps what it was sent."""

        def do_POST(self) -> None:
            """Answer with the path that was asked for."""
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        prompt = 'it\'s "5 µm"; `id` $(id) $HOME\n& more'
        line = formats.curl_line(f"http://127.0.0.1:{server.server_port}/v1", "borealis chat", prompt)
        done = subprocess.run(["bash", "-c", f"{line} --noproxy '*' -s"], capture_output=True, text=True, check=True)
        server.shutdown()
    assert done.stdout == "/v1/chat/completions"
    assert json.loads(bodies[0]) == {"model": "borealis chat", "messages": [{"role": "user", "content": prompt}]}
