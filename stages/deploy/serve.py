"""Start `transformers serve` as a process of its own and believe in it only when it has answered.

The server (OpenAI-compatible; docs: https://huggingface.co/docs/transformers/serving) runs in a session of its own with
standard input closed and a log file, so that it outlives the stage and no terminal ends it. Given up: batching of
requests (its `--continuous-batching` wants an accelerator), and a choice of servers.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import openai
from pydantic import ValidationError

from schemas.serving import Endpoint
from stages.base import PACKAGE_ROOT, SettingsError, num_cores
from stages.deploy import Deploy
from stages.deploy.snapshot import link_snapshot
from stages.deploy.stop import stop
from stages.model.folder import only_model
from stages.tables import Outputs, Reader

POLL_SECONDS = 0.2
END_SECONDS = 5.0
LOG_LINES = 20
EXIT_TERMINATED = 143  # as a shell reports SIGTERM
ANY_HOST = {"0.0.0.0", "::"}  # noqa: S104 - named here so that the address given out is one that can be called


class ServerError(Exception):
    """The server did not come up or did not answer. The message ends with the last lines of its log."""


def deploy(settings: Deploy, models: Reader, outputs: Outputs) -> None:
    """Serve the one model of `models`; writes its `Endpoint` after an answer, and leaves nothing behind otherwise."""
    model, folder = only_model(models)
    home = (outputs.folder / "server").resolve()
    home.mkdir(exist_ok=True)
    _stop_older(home / "server.json")
    name = link_snapshot(home / "hub", model, folder)
    port = _free_port(settings.host, settings.port)
    address = _callable_address(settings.host)
    endpoint = Endpoint(
        url=f"http://{f'[{address}]' if ':' in address else address}:{port}/v1",
        model=name,
        host=socket.gethostname(),
        pid=0,  # this and the next are filled in by the process itself
        process_started=0.0,
        prompt=settings.prompt,
        answer="",
    )
    deadline = time.monotonic() + settings.timeout_seconds
    with _running(endpoint, (settings.host, port), home) as server:
        _wait_healthy(server, (address, port), deadline)
        answer = _ask(server, endpoint, (settings.max_tokens, deadline))
        known = Endpoint.model_validate_json(server.record.read_text())
        outputs["endpoint"].write(known.model_copy(update={"answer": answer}))
    print(f"{endpoint.model} answers at {endpoint.url}: {answer!r}", file=sys.stderr)


@dataclass(frozen=True)
class Server:
    """The server's process, the file that says which process it is, and its log."""

    process: subprocess.Popen[bytes]
    record: Path
    log: Path

    def fail(self, words: str) -> NoReturn:
        """Raise `ServerError` with the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise ServerError("\n".join([f"{words}; the last lines of {self.log}:", *lines]))

    def check(self) -> None:
        """Raise `ServerError` if the process has ended."""
        if self.process.poll() is not None:
            self.fail(f"the server ended with exit status {self.process.returncode}")

    def end(self) -> None:
        """SIGTERM, then SIGKILL, to the whole group. The record goes too, for it would name nobody."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=END_SECONDS)
        self.record.unlink(missing_ok=True)

    def release(self) -> None:
        """It lives on: nobody is to wait for it."""
        self.process.returncode = 0


def _wait_healthy(server: Server, address: tuple[str, int], deadline: float) -> None:
    while not _healthy(address):
        server.check()
        if time.monotonic() > deadline:
            server.fail("the server was not ready in time (setting timeout_seconds)")
        time.sleep(POLL_SECONDS)


def _healthy(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):  # nobody listens there yet
        return False
    finally:
        connection.close()


def _ask(server: Server, endpoint: Endpoint, limits: tuple[int, float]) -> str:
    """The answer to the endpoint's prompt, as any user of the `openai` client gets it; limits: tokens, deadline."""
    max_tokens, deadline = limits
    direct = openai.DefaultHttpxClient(trust_env=False)  # no proxy stands before one's own machine
    with openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0, http_client=direct) as client:
        try:
            reply = client.chat.completions.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": endpoint.prompt}],
                max_tokens=max_tokens,
                temperature=0,
                timeout=max(deadline - time.monotonic(), 1.0),
            )
        except openai.APIError as error:
            server.check()
            server.fail(f"/v1/chat/completions failed: {error}")
    answer = (reply.choices[0].message.content or "").strip()
    if not answer:
        server.fail(f"the model said nothing to {endpoint.prompt!r}")
    return answer


@contextlib.contextmanager
def _running(endpoint: Endpoint, bind: tuple[str, int], home: Path) -> Iterator[Server]:
    """A server that is left running when the block ends well, and ended when it ends in any other way."""
    with _sigterm() as arm:
        server = _start(endpoint, bind, home)
        try:
            arm()
            yield server
        except BaseException:
            server.end()
            raise
    server.release()


def _start(endpoint: Endpoint, bind: tuple[str, int], home: Path) -> Server:
    record, log = home / "server.json", home / "log.txt"
    host, port = bind
    serve = [sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", endpoint.model]
    serve += ["--host", host, "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "stages.deploy.launch", str(record), endpoint.model_dump_json(), *serve],
            cwd=home / "hub",  # a folder of the model's name would be taken for the model; this one has none
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, record, log)


def _environment(home: Path) -> dict[str, str]:
    """No network, no cache outside the output, and this package importable from the server's folder."""
    paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": str(home.resolve()),
        "HF_HUB_CACHE": str((home / "hub").resolve()),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # see stages/posttrain/train.py
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(num_cores())),
    }


def _stop_older(record: Path) -> None:
    """End the server that an earlier run of this output left, if it still lives."""
    try:
        older = Endpoint.model_validate_json(record.read_text())
    except FileNotFoundError:
        return
    except ValidationError:
        print(f"{record} is not a server's record; going on without it", file=sys.stderr)
        return
    if stop(older):
        print(f"ended an older server at {older.url}", file=sys.stderr)
    record.unlink()


def _free_port(host: str, port: int) -> int:
    """`port`, or a free one for 0; `SettingsError` if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: closed ones linger 60 s
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(f"deploy.host, deploy.port: {host}:{port}: {error.strerror}") from None


def _callable_address(host: str) -> str:
    """The address under which a client finds a server that listens on `host`."""
    return socket.gethostname() if host in ANY_HOST else host


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[], None]]:
    """Within the block SIGTERM raises `SystemExit`, but not before `arm()`: a half-made child could not be ended."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield lambda: None
        return
    state = {"armed": False, "came": False}

    def handle(_signal: int, _frame: FrameType | None) -> None:
        state["came"] = True
        if state["armed"]:
            sys.exit(EXIT_TERMINATED)

    def arm() -> None:
        state["armed"] = True
        if state["came"]:
            sys.exit(EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield arm
    finally:
        signal.signal(signal.SIGTERM, previous)
