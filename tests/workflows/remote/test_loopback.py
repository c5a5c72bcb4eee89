"""The SDK's own client and executor over a loopback of the service: its web routes, a real RabbitMQ, a fresh process as endpoint."""

import gc
import json
import os
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from tests import rabbitmq
from tests.long import when_asked
from tests.workflows.remote.service import Service, fresh_process, serving
from workflows.__main__ import main
from workflows.remote import channel
from workflows.remote.channel import Globus
from workflows.remote.request import MAX_BYTES, Logs, payload

pytest.importorskip("globus_compute_sdk", reason="the executor is Globus Compute's own: pip install -e '.[remote]'")
pytestmark = [
    pytest.mark.slow,
    when_asked("test-remote"),
    pytest.mark.skipif(rabbitmq.missing(), reason=f"no RabbitMQ here: {rabbitmq.CURE}"),
    pytest.mark.filterwarnings(
        "ignore:unclosed:ResourceWarning"
    ),  # the SDK's AMQP library leaves its own loop's sockets
]
ENDPOINT = "9a947ba5-f537-4681-acf3-cc66485aadec"
PATIENCE_SECONDS = 300
RUN = "20261122-0123456789ab"


@pytest.fixture(scope="module")
def broker() -> Iterator[rabbitmq.Broker]:
    """One RabbitMQ for the tests of this file."""
    with rabbitmq.running() as made:
        yield made


@pytest.fixture
def service(broker, tmp_path, monkeypatch) -> Iterator[Service]:
    """A service of the test's own, to which the SDK's client is pointed; only its address and its login are not Globus's."""
    import globus_compute_sdk
    from globus_compute_sdk.sdk import executor as sdk
    from globus_sdk.authorizers import AccessTokenAuthorizer

    monkeypatch.setenv("BOREALIS_STATE", str(tmp_path / "state"))
    made = Service(broker.address)
    with serving(made) as address:
        monkeypatch.setattr("globus_compute_sdk.sdk.client.get_web_service_url", lambda _: address)
        client = globus_compute_sdk.Client(authorizer=AccessTokenAuthorizer("loopback"))
        monkeypatch.setattr(channel, "connect", lambda: client)
        monkeypatch.setattr(sdk.Executor, "_default_task_group_id", None)
        yield made
        end_watchers(sdk._RESULT_WATCHERS)
    gc.collect()  # sockets that nobody closes go while they may


def end_watchers(watchers: dict[object, threading.Thread]) -> None:
    """End what waits for results: it lives as long as the process, the service does not."""
    for watcher in list(watchers.values()):
        watcher.shutdown(cancel_futures=True)
        watcher.join()


def test_a_request_goes_there_and_back(service, elsewhere, capsys) -> None:
    """The function is registered once as our source, two calls come back with what was asked, and both are small."""
    there = Globus(ENDPOINT)
    requests = [Logs(run=RUN, project=str(elsewhere), offset=n) for n in (0, 7)]
    for request in requests:
        expected = {"got": payload(request), "argv": ["-m", "workflows.remote.answer"], "cwd": str(elsewhere)}
        assert there.call(request) == expected
    assert list(service.functions.values()) == [channel.PACKED + channel.source()]
    assert all(body["result_serializers"] for body in service.submitted)
    assert max(service.sizes["task"]) < 4096
    with capsys.disabled():
        print(f"\nbytes over the loopback service: {service.sizes}")


def test_the_largest_request_passes(service, elsewhere) -> None:
    """A request of the most bytes that we send is far below what the service refuses."""
    from workflows.remote.request import Start

    fixed = {"run": RUN, "project": str(elsewhere), "code_sha256": "0"}
    room = MAX_BYTES - len(json.dumps(payload(Start(words=("run", "a", "", ""), **fixed))).encode())
    whole = Start(words=("run", "a", "x" * (room // 2), "y" * (room - room // 2)), **fixed)
    assert Globus(ENDPOINT).call(whole)["got"] == payload(whole)
    assert MAX_BYTES < service.sizes["submission"][0] < MAX_BYTES + 8192


def test_a_failure_there_is_told_here(service, elsewhere) -> None:
    """Where the checkout's program ends badly, the error names the endpoint and carries the program's own words."""
    python = elsewhere / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no module named workflows >&2\nexit 7\n")
    with pytest.raises(SettingsError, match=rf"(?s)endpoint {ENDPOINT}.*ended with 7: no module named workflows"):
        Globus(ENDPOINT).call(Logs(run=RUN, project=str(elsewhere)))


def test_a_pickled_answer_is_not_opened(service, elsewhere, tmp_path) -> None:
    """An endpoint that answers with a pickle, though told to send JSON, is refused and nothing of it is run."""
    from globus_compute_common import messagepack
    from globus_compute_common.messagepack.message_types import Result
    from globus_compute_sdk.serialize import DillDataBase64

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    data = DillDataBase64().serialize(Trap())
    service.worker = lambda task: messagepack.pack(Result(task_id=uuid.UUID(task["id"]), data=data))
    with pytest.raises(SettingsError, match="DillDataBase64 disabled"):
        Globus(ENDPOINT).call(Logs(run=RUN, project=str(elsewhere)))
    assert not (tmp_path / "opened").exists()


def test_the_services_refusal_is_told(service, elsewhere, monkeypatch) -> None:
    """What the web service refuses comes back in its words."""
    refused = {"code": "ENDPOINT_NOT_FOUND", "message": "no such endpoint"}
    taken = service.post
    monkeypatch.setattr(service, "post", lambda path, *more: (404, refused) if "submit" in path else taken(path, *more))
    with pytest.raises(SettingsError, match=rf"endpoint {ENDPOINT}.*no such endpoint"):
        Globus(ENDPOINT).call(Logs(run=RUN, project=str(elsewhere)))


def test_an_endpoint_that_is_silent_is_left(service, elsewhere, monkeypatch) -> None:
    """With no answer in time the call says so and lets go: neither it nor this process waits for the endpoint any longer."""
    answers = threading.Event()
    service.worker = lambda task: fresh_process(task) if answers.wait(PATIENCE_SECONDS) else b""
    monkeypatch.setattr(channel, "REPLY_SECONDS", 5.0)
    before = {t for t in threading.enumerate() if not t.daemon}
    try:
        with pytest.raises(SettingsError, match="no answer in 5 s"):
            Globus(ENDPOINT).call(Logs(run=RUN, project=str(elsewhere)))
        left = {t for t in threading.enumerate() if not t.daemon} - before - set(service.threads)
        for thread in left:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
    finally:
        answers.set()


def test_a_broken_connection_is_made_again(service, elsewhere, broker) -> None:
    """The broker closes every connection while the answer is awaited; it is fetched over a new one."""
    asked, closed = threading.Event(), threading.Event()

    def after_the_break(task: dict[str, object]) -> bytes:
        asked.set()
        assert closed.wait(PATIENCE_SECONDS)
        return fresh_process(task)

    service.worker = after_the_break
    with ThreadPoolExecutor() as pool:
        called = pool.submit(Globus(ENDPOINT).call, Logs(run=RUN, project=str(elsewhere)))
        assert asked.wait(PATIENCE_SECONDS)
        broker.break_connections()
        closed.set()
        assert called.result(PATIENCE_SECONDS)["got"]["run"] == RUN


def parsl(*words: str) -> int:
    """The command, in this process, where the client is the loopback's; its exit code."""
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code)


@pytest.mark.skipif(
    not (PACKAGE_ROOT / ".venv" / "bin" / "python").exists(), reason="no .venv in this checkout: make install makes one"
)
def test_a_run_through_the_service(service, sides, root, capfd) -> None:
    """`parsl run --endpoint UUID` starts a run on the other side; attach follows it to its end, status and logs know it."""
    papers = f"ingest.paths={root.parent / 'papers'}"
    send = ("run", "workflows/corpus.py", "--endpoint", ENDPOINT, "--project", str(PACKAGE_ROOT), "--stub")
    assert parsl(*send, "--only", "ingest", "--set", papers) == 0
    said = capfd.readouterr().out
    assert f"bytes sent to {ENDPOINT}" in said
    run = re.search(r"run +(\S+)", said)
    assert run
    assert parsl("attach", "--run", run[1]) == 0
    followed = capfd.readouterr().out
    assert "ingest: done" in followed
    assert f"{run[1]}: done" in followed
    assert parsl("status", "--run", run[1]) == 0
    assert "ingest          done" in capfd.readouterr().out
    assert (sides / run[1] / "end.json").is_file()
    assert len(service.functions) == 1
    with capfd.disabled():
        print(f"\nbytes of a run: {service.sizes}")
