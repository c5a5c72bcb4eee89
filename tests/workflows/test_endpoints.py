"""Servers that were left running: which are of this machine, how they are asked, and what is said when they do not answer."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from schemas.serving import Endpoint
from tests.tables import write_table
from workflows.__main__ import main
from workflows.endpoints import answer, by_machine, read_endpoints

ANSWERS = {
    "good": (200, json.dumps({"choices": [{"message": {"content": "5.2 eV"}}]})),
    "error": (500, "out of memory"),
    "page": (200, "<html>"),
    "other": (200, json.dumps({"choices": []})),
    "nothing": (200, "null"),
}


def endpoint(url: str = "http://127.0.0.1:1/v1", host: str = "") -> Endpoint:
    """A server that is recorded, and whose process is gone."""
    known = {"url": url, "model": "m", "prompt": "What?", "answer": "", "pid": 2**22 + 1, "process_started": 0.5}
    return Endpoint.model_validate({**known, "host": host or socket.gethostname()})


@pytest.fixture
def served() -> Iterator[tuple[str, list[str]]]:
    """A server that answers by the last word of its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            code, body = ANSWERS[self.path.split("/")[1]]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def test_no_proxy_stands_before_ones_own_machine(served, monkeypatch) -> None:
    """With a proxy in the environment, as on compute nodes, the server is still asked directly, in the protocol's words."""
    url, asked = served
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert answer(endpoint(f"{url}/good"), "Wie groß?") == "5.2 eV"
    assert json.loads(asked[0])["messages"] == [{"role": "user", "content": "Wie groß?"}]


@pytest.mark.parametrize("kind", ["error", "page", "other", "nothing"])
def test_what_is_no_answer_is_said_with_the_cure(served, kind: str) -> None:
    """A server that fails, or is another program, gives an error with its address and the command that starts it again."""
    url, _ = served
    with pytest.raises(OSError, match=rf"no answer from {url}/{kind}/chat/completions: .*--only deploy --force"):
        answer(endpoint(f"{url}/{kind}"), "What?")


def test_servers_of_other_machines_do_not_stop_a_command(tmp_path: Path, monkeypatch, capsys) -> None:
    """On a file system that machines share, `ask`, `stop` and the end of a run name another machine's servers and go on."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path))
    there = endpoint("http://10.0.0.7:80/v1", "x3001c0s1b0n0")
    write_table(tmp_path / "deploy" / "one", Endpoint, [there], "endpoint")
    write_table(tmp_path / "deploy" / "two", Endpoint, [endpoint()], "endpoint")
    assert by_machine(e for n in ("one", "two") for e in read_endpoints(tmp_path / "deploy" / n)) == (
        [endpoint()],
        [there],
    )
    for command, code, words in (("ask", 1, "ask it there"), ("stop", 0, "say parsl stop there")):
        with pytest.raises(SystemExit) as end:
            main([command])
        assert end.value.code == code
        said = capsys.readouterr().out
        assert "x3001c0s1b0n0" in said
        assert words in said
        assert "no server is running here" in said


def test_the_end_of_a_run_says_where_the_server_is(monkeypatch, capsys) -> None:
    """A finished run whose server is on a compute node names the node, and is no failure."""
    from rich.console import Console

    from workflows.commands import _print_endpoint

    _print_endpoint(endpoint("http://10.0.0.7:80/v1", "x3001c0s1b0n0"), None, Console(width=200))
    assert "http://10.0.0.7:80/v1 on x3001c0s1b0n0" in capsys.readouterr().out
