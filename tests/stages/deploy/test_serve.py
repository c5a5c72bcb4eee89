"""The real server, started by the real command, asked by the real client."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import openai
import psutil
import pytest

from schemas.serving import Endpoint
from schemas.training import Model
from stages.base import PACKAGE_ROOT
from stages.deploy.stop import alive, stop
from stages.tables import Reader
from tests.stages.posttrain import tiny

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 60


def command(model: Path, out: Path, **settings: object) -> list[str]:
    """The stage's command line."""
    out.mkdir(exist_ok=True)
    config = out / "config.json"
    config.write_text(json.dumps({"max_tokens": 8, **settings}))
    return [sys.executable, "-m", "stages.deploy", "--model", str(model), "--out", str(out), "--config", str(config)]


def deploy(model: Path, out: Path, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run the stage to its end."""
    return subprocess.run(
        command(model, out, **settings), cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False
    )


def servers(out: Path) -> list[int]:
    """Processes that were started for this output, whoever their parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HF_HOME") == str((out / "server").resolve()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def started(stage: "subprocess.Popen[bytes]", out: Path) -> Endpoint:
    """The record of the server that a running stage has just started."""
    record, deadline = out / "server" / "server.json", time.monotonic() + PATIENCE_SECONDS
    while not record.exists():
        assert stage.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return Endpoint.model_validate_json(record.read_text())


class Served(NamedTuple):
    """A server that a second run has started, and the one that a first, killed run left."""

    row: Endpoint
    out: Path
    orphan: Endpoint
    words: str
    seconds: float


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run that is killed as soon as its server exists, and the same run again."""
    out = tmp_path_factory.mktemp("served")
    stage = subprocess.Popen(command(model, out), cwd=PACKAGE_ROOT, stderr=subprocess.DEVNULL)
    orphan = started(stage, out)
    stage.kill()
    stage.wait()
    assert alive(orphan)
    begun = time.monotonic()
    again = deploy(model, out)
    assert again.returncode == 0, again.stderr
    (row,) = Reader(out / "endpoint", Endpoint).rows()
    yield Served(row, out, orphan, again.stderr, time.monotonic() - begun)
    stop(row)
    assert servers(out) == []


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    """The official client, as a user would make it."""
    with openai.OpenAI(base_url=served.row.url, api_key="none", max_retries=0) as made:
        yield made


def test_endpoint_row(served: Served) -> None:
    """The row says where the server is, which process it is, and what it answered."""
    row = served.row
    assert alive(row)
    assert servers(served.out) == [row.pid]
    assert (row.host, row.model) == (socket.gethostname(), "tiny-chat")
    assert row.prompt == "What was measured, and what was found?"
    assert row.answer.strip()
    assert served.seconds < PATIENCE_SECONDS


def test_server_outlives_the_stage(served: Served) -> None:
    """The server leads a session of its own, with no terminal, no input, and its log in the output folder."""
    process = psutil.Process(served.row.pid)
    assert os.getsid(process.pid) == process.pid
    assert Path(f"/proc/{process.pid}/fd/0").readlink() == Path("/dev/null")
    assert Path(f"/proc/{process.pid}/fd/1").readlink() == served.out / "server" / "log.txt"


def test_server_listens_on_loopback_only(served: Served) -> None:
    """Nobody outside reaches the server."""
    listening = [c.laddr.ip for c in psutil.Process(served.row.pid).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]


def test_killed_run_leaves_no_second_server(served: Served) -> None:
    """The server of a run that was killed is ended by the run that follows it."""
    assert not alive(served.orphan)
    assert served.orphan.pid != served.row.pid
    assert "ended an older server" in served.words


def test_models_list(served: Served, client: openai.OpenAI) -> None:
    """The list of models is the one model under its short name."""
    assert [m.id for m in client.models.list()] == [served.row.model]


def test_chat_is_the_recorded_answer(served: Served, client: openai.OpenAI) -> None:
    """Anybody who asks the same gets the recorded answer, with the tokens counted."""
    asked = [{"role": "user", "content": served.row.prompt}]
    reply = client.chat.completions.create(model=served.row.model, messages=asked, max_tokens=8, temperature=0)
    assert (reply.choices[0].message.content or "").strip() == served.row.answer
    assert reply.usage is not None
    words = tiny.tokenizer()
    prompt = f"<|user|>{served.row.prompt}<|end|><|assistant|>"
    assert reply.usage.prompt_tokens == len(words(prompt)["input_ids"])
    assert reply.usage.completion_tokens == 8
    assert reply.choices[0].finish_reason == "length"


def test_stream_is_the_same_answer(served: Served, client: openai.OpenAI) -> None:
    """A streamed answer comes in pieces that make up the same text, but for bytes at its end that are no character yet."""
    asked = [{"role": "user", "content": served.row.prompt}]
    stream = client.chat.completions.create(
        model=served.row.model, messages=asked, max_tokens=8, temperature=0, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces).strip().rstrip("\ufffd") == served.row.answer.rstrip("\ufffd")
    assert len([p for p in pieces if p]) > 1


def test_plain_completion(served: Served, client: openai.OpenAI) -> None:
    """Text can be continued without a chat."""
    reply = client.completions.create(model=served.row.model, prompt="What is the", max_tokens=4, temperature=0)
    assert reply.choices[0].text


def test_other_models_are_refused(served: Served, client: openai.OpenAI) -> None:
    """A request for another model is an error, not an attempt to find it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gpt2", messages=[{"role": "user", "content": "a"}])
    assert f"pinned to '{served.row.model}'" in refused.value.response.text


def test_terminated_stage_takes_its_server_along(model: Path, tmp_path: Path) -> None:
    """SIGTERM to the stage while the server starts ends both, and nothing looks done."""
    stage = subprocess.Popen(command(model, tmp_path), cwd=PACKAGE_ROOT, stderr=subprocess.DEVNULL)
    row = started(stage, tmp_path)
    stage.terminate()
    assert stage.wait(timeout=30) == 128 + signal.SIGTERM
    assert not alive(row)
    assert servers(tmp_path) == []
    assert not (tmp_path / "manifest.json").exists()


def test_broken_model(model: Path, tmp_path: Path) -> None:
    """A server that cannot load its model is reported at once, with what it said last."""
    (row,) = Reader(model, Model).rows()
    folder = tmp_path / "broken"
    shutil.copytree(Path(row.files[0].path).parent, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    broken = tmp_path / "table"
    table = tiny.write_table(broken, Model, [tiny.model_row(folder, "broken")], "model")
    found = deploy(table, tmp_path / "out")
    assert found.returncode == 1
    assert "the server ended with exit status 1" in found.stderr
    assert "SafetensorError" in found.stderr
    assert servers(tmp_path / "out") == []


def test_too_slow(model: Path, tmp_path: Path) -> None:
    """A server that is not ready in time is ended."""
    found = deploy(model, tmp_path, timeout_seconds=0.5)
    assert found.returncode == 1
    assert "not ready in time" in found.stderr
    assert servers(tmp_path) == []


def test_port_in_use(model: Path, tmp_path: Path) -> None:
    """A port that another process has is refused before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = deploy(model, tmp_path, port=port)
    assert found.returncode == 2
    assert f"127.0.0.1:{port}: Address already in use" in found.stderr
    assert servers(tmp_path) == []
