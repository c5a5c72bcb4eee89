"""A served vision-language model as a parser, against servers on this machine that speak the protocol, good and bad."""

import base64
import io
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.parse.lines import Page
from stages.parse.parsers import Options, Server, cost, parser
from stages.parse.served import KEY, ServedModel, png
from stages.parse.web import ServiceError
from tests.loopback import Answer, Reply, servers
from tests.stages.parse.conftest import WORDS, Parsed, run_parse, scan, source, typeset

Start = Callable[[Answer], str]
MARKDOWN = (
    "# Heat in metals\n\nRead by a model: the conductivity is $k = 3.98$ W/(cm K).\n\n| T | k |\n|---|---|\n| 4 | 162 |"
)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that answer as a function says; gives their base URL."""
    with servers() as listen:
        yield lambda answer: f"http://127.0.0.1:{listen(answer)}/v1"


def says(text: object, why: str = "stop") -> Reply:
    """A chat completion with one choice."""
    return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": why}]}


def model(url: str, waits: tuple[float, ...] = (), timeout_seconds: float = 20.0) -> ServedModel:
    """A client."""
    return ServedModel(Server(url, "vision-1", "Read this page.", timeout_seconds, 4096), 72, waits)


def test_a_page_goes_out_as_a_picture_and_comes_back_as_text(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has the page's pixels as PNG, the prompt, the model's name and the key; the answer is the page's text."""
    asked: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Reply:
        asked.append(body)
        return says(f"```markdown\n{MARKDOWN}\n```\n")

    monkeypatch.setenv(KEY, "secret")
    (tmp_path / "a.pdf").write_bytes(typeset(WORDS))
    page = model(start(answer)).read(str(tmp_path / "a.pdf"), 0)
    assert (page.text, page.parser, page.origin, page.number) == (MARKDOWN, "served:vision-1", "ocr", 1)
    body = asked[0]
    assert (body["path"], body["key"], body["model"]) == ("/v1/chat/completions", "Bearer secret", "vision-1")
    assert (body["temperature"], body["max_tokens"]) == (0, 4096)
    picture, prompt = body["messages"][0]["content"]
    assert prompt == {"type": "text", "text": "Read this page."}
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (420, 596)  # A5 at 72 dpi
    assert np.asarray(image).min() < 100


def test_pictures_are_what_another_library_reads() -> None:
    """Pillow reads back every pixel of what we write as PNG."""
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(pixels)))) == pixels).all()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((400, {"error": "no pictures here"}), "HTTP 400"),
        ((200, b"not JSON"), "not an answer"),
        ((200, {"choices": []}), "not an answer"),
        ((200, {"choices": [{"message": "no"}]}), "not an answer"),
        (says(None), "not an answer"),
        (says("and so on and so on", "length"), "cut off"),
    ],
)
def test_a_bad_answer_is_a_reason(start: Start, reply: Reply, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no whole answer by the protocol is refused with a few words, none of which are the key."""
    monkeypatch.setenv(KEY, "secret")
    with pytest.raises(ServiceError) as caught:
        model(start(lambda _: reply)).ask(np.zeros((4, 4), np.uint8))
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def test_a_busy_server_is_asked_again(start: Start) -> None:
    """Answers that mean "later" are asked for again, as often as there are waits, and then are a reason."""
    replies = [(503, {}), (429, {}), says("Now."), (500, {}), (500, {})]
    client = model(start(lambda _: replies.pop(0)), waits=(0.01, 0.01))
    assert client.ask(np.zeros((4, 4), np.uint8)) == "Now."
    with pytest.raises(ServiceError, match="HTTP 500"):
        model(client.server.url, waits=(0.01,)).ask(np.zeros((4, 4), np.uint8))
    assert not replies


def test_a_server_that_is_away(tmp_path: Path) -> None:
    """Nobody at the address, or no answer in time: the page is lost, and says why."""
    (tmp_path / "a.pdf").write_bytes(typeset(WORDS))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()  # connects and never answers
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        page = model(url, timeout_seconds=0.2).read(str(tmp_path / "a.pdf"), 0)
        assert (page.parser, page.is_lost) == ("none: no answer", True)
    assert model(url).read(str(tmp_path / "a.pdf"), 0).parser == "none: no answer"


def test_its_cost_is_a_service() -> None:
    """A served model is known by its own name, as a parser that waits and does not compute."""
    assert cost("served:any/name") == "service"
    options = Options(server=Server("http://h/v1", "any/name", "p", 1, 100))
    assert parser("served:any/name", options) is parser("served:any/name", options)


# ---- in a run


def run(base: Path, url: str, out: str = "out", **settings: object) -> Parsed:
    """Four sources through the stage: two scans, one good PDF, one with a hidden layer of nonsense."""
    base.mkdir(exist_ok=True)
    for name in ("one", "two"):
        (base / f"{name}.pdf").write_bytes(scan(typeset(f"Scan {name}. {WORDS[:100]}")))
    (base / "good.pdf").write_bytes(typeset(WORDS))
    rows = [source(base / f"{n}.pdf") for n in ("one", "good", "two")]
    return run_parse(base, rows, out, ocr="served", served_url=url, served_model="vision-1", **settings)


def test_a_run_with_a_served_model(
    tmp_path: Path, start: Start, capfd: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """Scans are read by the model, good pages are not sent, the output says who read what and nowhere holds the key."""
    count: Counter[str] = Counter()

    def answer(body: dict[str, Any]) -> Reply:
        count[body["key"]] += 1
        return says(MARKDOWN)

    monkeypatch.setenv(KEY, "the-key-itself")
    found = run(tmp_path, start(answer))
    assert count == {"Bearer the-key-itself": 2}
    assert found.by_name["one.pdf"]["text"] == MARKDOWN
    assert found.by_name["one.pdf"]["title"] == "Heat in metals"
    parsers = {n: d["pages"][0]["parser"] for n, d in found.by_name.items()}
    assert parsers == {"one.pdf": "served:vision-1", "two.pdf": "served:vision-1", "good.pdf": "pypdfium2"}
    said = capfd.readouterr()
    written = b"".join(f.read_bytes() for f in found.folder.rglob("*") if f.is_file())
    assert b"the-key-itself" not in written + (said.out + said.err).encode()


def test_a_page_that_fails_keeps_its_text(tmp_path: Path, start: Start) -> None:
    """A page of nothing is dropped with the server's reason; a poor layer stays where the model fails, and says so."""
    found = run(tmp_path, start(lambda _: (400, {"error": "too large"})))
    assert found.reasons == {"one.pdf": "no text", "two.pdf": "no text"}
    assert "none: served:vision-1: HTTP 400" in found.dropped[0]["detail"]
    assert found.by_name["good.pdf"]["pages"][0]["parser"] == "pypdfium2"


def test_a_server_that_dies_ends_the_run(tmp_path: Path, start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """Many failures in a row stop the stage with the cure; once the server is back, the pages it had read are kept."""
    alive, read = [True], []

    def answer(_: dict[str, Any]) -> Reply:
        read.append(1)
        alive[0] = alive[0] and len(read) <= 3
        return says(f"{MARKDOWN} {len(read)}") if alive[0] else (400, {})

    url = start(answer)
    rows = []
    for number in range(26):
        (tmp_path / f"{number}.pdf").write_bytes(scan(typeset(f"Scan {number}.")))
        rows.append(source(tmp_path / f"{number}.pdf"))
    settings = {"ocr": "served", "served_url": url, "served_model": "m", "service_requests": 2}
    with pytest.raises(AssertionError):  # the stage's exit code is 2
        run_parse(tmp_path, rows, **settings)
    assert "20 requests in a row have failed, the last with 'served:m: HTTP 400'" in capfd.readouterr().err
    read.clear()
    alive[0] = True
    with servers() as listen:
        settings["served_url"] = f"http://127.0.0.1:{listen(lambda _: (read.append(1), says(MARKDOWN))[1])}/v1"
        found = run_parse(tmp_path, rows, **settings)
    assert len(found.documents) == 26
    assert len(read) == 23


def test_pages_go_on_from_one_to_the_next() -> None:
    """Markdown of two pages is joined where a sentence goes on, and set apart where a paragraph or a table begins."""
    from stages.parse.layout import document_text
    from stages.parse.lines import verbatim

    def text(*pages: str) -> str:
        read = [Page(n, 400, 600, (verbatim(p, 400, 600),), "served:m", "ocr") for n, p in enumerate(pages, 1)]
        found, spans = document_text(read)
        assert [s.start for s in spans] == [found.index(p.split("\n")[0][:5]) for p in pages]
        return found

    assert text("The heat is con-", "ducted by electrons.") == "The heat is conducted by electrons."
    assert text("The heat is", "carried by electrons.") == "The heat is carried by electrons."
    assert text("It ends here.", "another one begins.") == "It ends here.\n\nanother one begins."
    assert text("as in this", "| a |\n|---|\n| b |") == "as in this\n\n| a |\n|---|\n| b |"
