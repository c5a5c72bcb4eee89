"""The client against real servers, good and bad ones, on this machine."""

import math
import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from schemas.table import ContractError
from stages.base import SettingsError
from stages.embed.served import KEY, MAX_TEXTS, ServedModel
from tests.loopback import Answer, Reply, servers

Start = Callable[[Answer], str]
WIDTH = 6


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that answer as a function says; gives their base URL."""
    with servers() as listen:
        yield lambda answer: f"http://127.0.0.1:{listen(answer)}/v1"


def vector(text: str, width: int = WIDTH) -> list[float]:
    """What the good server says of a text: how often each of the first letters stands in it."""
    return [1.0 + text.count(chr(97 + n)) for n in range(width)]


def good(body: dict[str, Any]) -> Reply:
    """Answer by the protocol, last text first."""
    rows = [{"index": n, "embedding": vector(t), "object": "embedding"} for n, t in enumerate(body["input"])]
    return 200, {"object": "list", "data": rows[::-1], "model": body["model"]}


def changed(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[dict[str, Any]], Reply]:
    """A server that is good but for what `change` does to its rows."""

    def answer(body: dict[str, Any]) -> Reply:
        rows = good(body)[1]["data"][::-1]
        change(rows)
        return 200, {"data": rows}

    return answer


def test_vectors_come_in_order_and_of_length_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents get the vectors of their own chunks, asked for by model name and with the key, in requests of bounded size."""
    asked: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Reply:
        asked.append(body)
        return good(body)

    monkeypatch.setenv(KEY, "secret")
    documents = [["abc", "bbb"], ["a"] * (MAX_TEXTS + 5), ["cab"]]
    found = ServedModel(start(answer), "m").embed(documents)
    assert [len(rows) for rows in found] == [2, MAX_TEXTS + 5, 1]
    for texts, rows in zip(documents, found, strict=True):
        expected = np.array([vector(t) for t in texts])
        assert np.allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert [len(body["input"]) for body in asked] == [MAX_TEXTS, 8]
    assert {(body["model"], body["path"], body["key"]) for body in asked} == {("m", "/v1/embeddings", "Bearer secret")}


def test_nothing_is_asked_for_nothing(start: Start) -> None:
    """Without texts there is no request."""
    assert ServedModel(start(lambda _: (500, {})), "m", ()).embed([]) == []


def drop(rows: list[dict[str, Any]]) -> None:
    """One vector fewer than texts."""
    rows.pop()


def twice(rows: list[dict[str, Any]]) -> None:
    """Two vectors of one index."""
    rows[1]["index"] = 0


def spoil(value: float) -> Callable[[list[dict[str, Any]]], None]:
    """One number is not one."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[1]["embedding"][2] = value

    return change


def zero(rows: list[dict[str, Any]]) -> None:
    """A vector that points nowhere."""
    rows[0]["embedding"] = [0.0] * WIDTH


def shorter(rows: list[dict[str, Any]]) -> None:
    """Vectors of two widths in one answer."""
    rows[0]["embedding"].pop()


def words(rows: list[dict[str, Any]]) -> None:
    """Embeddings as text, as some servers send them when asked for base64."""
    rows[0]["embedding"] = "AAAA"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drop, "2 vectors for 3 texts"),
        (twice, "3 vectors for 3 texts, of the indexes"),
        (spoil(math.nan), "1 of 3 vectors have numbers that are not finite"),
        (spoil(math.inf), "1 of 3 vectors have numbers that are not finite"),
        (zero, "vectors of length zero"),
        (shorter, "no embeddings in it"),
        (words, "no embeddings in it"),
        (lambda rows: rows.clear(), "0 vectors for 3 texts"),
    ],
)
def test_wrong_answers_are_refused(start: Start, change: Any, problem: str) -> None:
    """Whatever is not one finite vector a text is an error that names the server and what is wrong."""
    url = start(changed(change))
    with pytest.raises(ContractError) as error:
        ServedModel(url, "m").embed([["a", "b", "c"]])
    assert problem in str(error.value)
    assert f"{url}/embeddings" in str(error.value)


@pytest.mark.parametrize("reply", [b"not json", {"error": "no"}, [], {"data": 3}, {"data": [{"index": 0}]}])
def test_answers_that_are_none_are_refused(start: Start, reply: Any) -> None:
    """An answer of another shape is an error that says so."""
    with pytest.raises(ContractError, match="no embeddings in it"):
        ServedModel(start(lambda _: (200, reply)), "m").embed([["a"]])


def test_widths_must_agree_over_requests(start: Start) -> None:
    """A model that answers with another width later is refused."""

    def answer(body: dict[str, Any]) -> Reply:
        width = WIDTH if len(body["input"]) == MAX_TEXTS else WIDTH + 1
        return 200, {"data": [{"index": n, "embedding": vector(t, width)} for n, t in enumerate(body["input"])]}

    with pytest.raises(ContractError, match=r"vectors of \[6, 7\] numbers"):
        ServedModel(start(answer), "m").embed([["a"] * (MAX_TEXTS + 1)])


def test_a_busy_server_is_asked_again(start: Start) -> None:
    """After two refusals for the time being the third answer counts."""
    statuses = iter([503, 429, 200])
    url = start(lambda body: (next(statuses), good(body)[1]))
    assert ServedModel(url, "m", (0, 0, 0)).embed([["ab"]])[0].shape == (1, WIDTH)
    assert next(statuses, None) is None


@pytest.mark.parametrize(("status", "attempts"), [(503, 3), (404, 1), (401, 1)])
def test_a_server_that_refuses_is_named(start: Start, status: int, attempts: int) -> None:
    """What it says is in the message; only what may pass is tried again."""
    asked = []

    def answer(body: dict[str, Any]) -> Reply:
        asked.append(body)
        return status, {"error": "no model m here"}

    with pytest.raises(SettingsError, match=f"answers {status} .*no model m here"):
        ServedModel(start(answer), "m", (0, 0)).embed([["a"]])
    assert len(asked) == attempts


def test_no_server_is_named() -> None:
    """Where nothing listens the message says how to go on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        with pytest.raises(SettingsError, match="does not answer: .*start the server"):
            ServedModel(url, "m", (0,)).embed([["a"]])


@pytest.mark.parametrize("endpoint", ["file:///etc/hostname", "localhost:8000", "ftp://x/v1"])
def test_only_http_is_asked(endpoint: str) -> None:
    """Another scheme is refused before anything is opened."""
    with pytest.raises(SettingsError, match=r"embed\.endpoint: expected a URL"):
        ServedModel(endpoint, "m")


def test_a_model_must_be_named() -> None:
    """The protocol wants a name."""
    with pytest.raises(SettingsError, match=r"embed\.served_model"):
        ServedModel("http://localhost/v1", "")
