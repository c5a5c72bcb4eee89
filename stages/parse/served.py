"""A page's picture to a vision-language model behind an OpenAI-compatible URL: `POST {url}/chat/completions`.

vLLM, SGLang, llama.cpp and the hosted services speak this protocol. The answer is Markdown of the page and is taken as it
is, without the fence that some models put around it. An answer that ends because it was long enough is not taken: a
model that repeats itself does not stop. The key comes from the environment (`OPENAI_API_KEY`). What is given up: boxes of
the words, and the same answer on every day; temperature 0 is all that can be asked for.
"""

import base64
import json
import os
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from stages.parse.lines import Page, lost, verbatim
from stages.parse.parsers import SERVED, Server
from stages.parse.web import WAITS_SECONDS, ServiceError, post

KEY = "OPENAI_API_KEY"
FENCE = re.compile(r"\A```(?:markdown|md|text|html)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


class ServedModel:
    """A model behind a URL, as a parser of pages."""

    def __init__(self, server: Server, dpi: int, waits: Sequence[float] = WAITS_SECONDS) -> None:
        self.server, self.dpi, self.waits = server, dpi, waits
        self.url = f"{server.url.rstrip('/')}/chat/completions"

    def read(self, path: str, index: int) -> Page:
        """A page as the model reads it; one without an answer is lost, and says why."""
        from stages.parse import pdf

        document = pdf.open_pdf(path)
        pixels, _, (width, height) = pdf.render(document, index, self.dpi)
        document.close()
        try:
            text = self.ask(pixels)
        except ServiceError as error:
            return lost(index + 1, error.reason)
        lines = (verbatim(text, width, height),) if text else ()
        return Page(index + 1, width, height, lines, parser=SERVED + self.server.model, origin="ocr")

    def ask(self, pixels: Any) -> str:
        """What the model writes of grey pixels (rows, columns); `ServiceError` where that is nothing to use."""
        picture = {"url": "data:image/png;base64," + base64.b64encode(png(pixels)).decode()}
        content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": self.server.prompt}]
        body = {
            "model": self.server.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.server.max_tokens,
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        reply = post(self.url, json.dumps(body).encode(), headers, self.server.timeout_seconds, self.waits)
        return _text(reply)


def _text(reply: bytes) -> str:
    try:
        choice = json.loads(reply)["choices"][0]
        text, why = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ServiceError("not an answer", f"{type(error).__name__}: {error}") from None
    if why == "length":
        raise ServiceError("cut off", "the answer was longer than parse.served_max_tokens")
    if not isinstance(text, str):
        raise ServiceError("not an answer", f"a {type(text).__name__} for a text")
    text = text.strip().encode(errors="replace").decode()
    found = FENCE.match(text)
    return (found[1] if found else text).strip()


def png(pixels: Any) -> bytes:
    """Grey pixels (rows, columns) as a PNG; see the specification, https://www.w3.org/TR/png-3/."""
    rows, columns = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)  # filter 0: none
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
