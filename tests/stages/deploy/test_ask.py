"""What the stage makes of servers that misbehave: small real ones, asked by the real client."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.serving import Endpoint
from stages.base import SettingsError
from stages.deploy import serve
from stages.deploy.serve import Server, ServerError
from stages.deploy.stop import process_started
from tests.loopback import servers

Answer = tuple[int, dict[str, object]]
Stub = Callable[[Answer], Endpoint]


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Starts an HTTP server that gives one answer to every request."""
    with servers() as listen:
        yield lambda answer: row(listen(lambda _: answer))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A living process with a log of forty lines."""
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {i}\n" for i in range(40)))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    made = Server(process, tmp_path / "server.json", log)
    yield made
    made.end()


def row(port: int) -> Endpoint:
    """An endpoint on this port."""
    fields = {"model": "tiny", "host": "here", "pid": 1, "process_started": 0.0, "prompt": "What?", "answer": ""}
    return Endpoint.model_validate({"url": f"http://127.0.0.1:{port}/v1", **fields})


def reply(text: str | None) -> Answer:
    """A chat completion that says this."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return 200, {"id": "a", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice]}


def limits(seconds: float = 10.0) -> tuple[int, float]:
    """Eight tokens and so much time from now."""
    return 8, time.monotonic() + seconds


def test_an_answer(stub: Stub, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes back without white space around it, and no proxy is asked for it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert serve._ask(server, stub(reply(" 4.2 g/cm3\n")), limits()) == "4.2 g/cm3"


@pytest.mark.parametrize("text", ["", " \n", None])
def test_silence_is_a_failure(text: str | None, stub: Stub, server: Server) -> None:
    """A model that says nothing has not answered; the error ends with the last 20 lines of the log."""
    with pytest.raises(ServerError, match="said nothing to 'What\\?'") as failed:
        serve._ask(server, stub(reply(text)), limits())
    assert str(failed.value).splitlines()[1:] == [f"line {i}" for i in range(20, 40)]


def test_refusal_is_a_failure(stub: Stub, server: Server) -> None:
    """An error of the server is told as it came."""
    with pytest.raises(ServerError, match="/v1/chat/completions failed: .*500"):
        serve._ask(server, stub((500, {"error": {"message": "out of paper"}})), limits())


def test_no_reply_is_a_failure(server: Server) -> None:
    """A server that takes the request and never replies is given up in time."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(ServerError, match="timed out"):
            serve._ask(server, row(mute.getsockname()[1]), limits(0.0))
        assert time.monotonic() - begun < 5


def test_death_is_told_first(server: Server) -> None:
    """When the process has ended, that is the news, and not that nobody answers."""
    server.process.kill()
    server.process.wait()
    with pytest.raises(ServerError, match="ended with exit status -9"):
        serve._ask(server, row(9), limits())
    with pytest.raises(ServerError, match="ended with exit status -9"):
        serve._wait_healthy(server, ("127.0.0.1", 9), limits()[1])


def test_end_leaves_nothing(server: Server) -> None:
    """Ending a server ends the process and removes the record of it."""
    server.record.write_text("{}")
    server.end()
    assert process_started(server.process.pid) is None
    assert not server.record.exists()


def test_a_record_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged record of an older server is told and does not stop the run."""
    record = tmp_path / "server.json"
    serve._stop_older(record)
    record.write_text('{"pid": 1')
    serve._stop_older(record)
    assert "is not a server's record" in capsys.readouterr().err


def test_free_port() -> None:
    """Port 0 becomes a free one, a free one stays, and a host that is not this machine's is refused."""
    port = serve._free_port("127.0.0.1", 0)
    assert port > 0
    assert serve._free_port("127.0.0.1", port) == port
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):  # an address kept for documentation, RFC 5737
        serve._free_port("192.0.2.1", 0)


def test_callable_address() -> None:
    """A server on every address is reached by this machine's name."""
    assert serve._callable_address("127.0.0.1") == "127.0.0.1"
    assert serve._callable_address("0.0.0.0") == socket.gethostname()  # noqa: S104
