"""A served embedding model, asked by the OpenAI protocol: POST {endpoint}/embeddings with a list of texts.

Nothing that comes back is believed: as many vectors as texts, each with its index, all of one width, finite and not zero.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.table import ContractError
from stages.base import SettingsError
from stages.embed.sentence import Vectors

TIMEOUT_SECONDS = 300
BUSY = {408, 409, 425, 429, 500, 502, 503, 504}  # worth asking again
WAITS_SECONDS = (0.5, 1, 2, 4, 8, 16)
MAX_TEXTS = 64  # a request; servers that limit them allow more
KEY = "OPENAI_API_KEY"


class ServedModel:
    """A model behind an endpoint; `waits` are the seconds between attempts where it is busy."""

    def __init__(self, endpoint: str, model: str, waits: Sequence[float] = WAITS_SECONDS) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise SettingsError(f"embed.endpoint: expected a URL such as http://host:8000/v1, found {endpoint!r}")
        if not model:
            raise SettingsError("embed.served_model: name the model that the server is asked for")
        self.url, self.model, self.waits = f"{endpoint.rstrip('/')}/embeddings", model, waits

    def embed(self, documents: Sequence[Sequence[str]]) -> list[Vectors]:
        """The vectors of each document's chunks."""
        texts = [chunk for chunks in documents for chunk in chunks]
        found = [self._ask(texts[start : start + MAX_TEXTS]) for start in range(0, len(texts), MAX_TEXTS)]
        if len({part.shape[1] for part in found}) > 1:
            raise self._wrong([f"vectors of {sorted({part.shape[1] for part in found})} numbers from one model"])
        ends = np.cumsum([len(chunks) for chunks in documents])
        return np.split(np.concatenate(found), ends[:-1]) if found else []

    def _ask(self, texts: Sequence[str]) -> Vectors:
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        reply = self._post(json.dumps(body).encode())
        try:
            rows = sorted(json.loads(reply)["data"], key=lambda row: row["index"])
            numbers, places = [row["embedding"] for row in rows], [row["index"] for row in rows]
            vectors = np.array(numbers, np.float64)
        except (ValueError, KeyError, TypeError) as error:
            raise self._wrong([f"no embeddings in it: {type(error).__name__}: {error}"]) from None
        if problems := _problems(vectors, places, len(texts)):
            raise self._wrong(problems)
        unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _wrong(self, problems: Sequence[str]) -> ContractError:
        return ContractError(f"the answer of {self.url}", [*problems, f"is {self.model} an embedding model there?"])

    def _post(self, body: bytes) -> bytes:
        for wait in (*self.waits, None):
            try:
                return self._once(body)
            except urllib.error.HTTPError as error:
                words = f"{error.code} {error.reason}: {error.read(500).decode(errors='replace').strip()}"
                if wait is None or error.code not in BUSY:
                    raise SettingsError(f"embed.endpoint: {self.url} answers {words}") from None
            except OSError as error:
                if wait is None:
                    cure = "start the server, or set another endpoint"
                    raise SettingsError(f"embed.endpoint: {self.url} does not answer: {error}; {cure}") from None
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        request = urllib.request.Request(self.url, data=body, headers=headers)  # noqa: S310 - http or https, checked
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310
            answer: bytes = reply.read()
        return answer


def _problems(vectors: Any, places: Sequence[int], count: int) -> list[str]:
    if places != list(range(count)):
        return [f"{len(places)} vectors for {count} texts, of the indexes {places[:5]}"]
    if vectors.ndim != 2 or not vectors.shape[1]:
        return ["embeddings that are not lists of numbers"]
    if not np.isfinite(vectors).all():
        return [f"{int((~np.isfinite(vectors)).any(axis=1).sum())} of {count} vectors have numbers that are not finite"]
    if not np.linalg.norm(vectors, axis=1).all():
        return ["vectors of length zero"]
    return []
