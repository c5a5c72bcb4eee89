"""Servers that `deploy` has left running under a root: find them, ask them, and say how to ask them by hand."""

import contextlib
import json
import shlex
import socket
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from schemas.manifest import NAME, Manifest
from schemas.serving import Endpoint
from schemas.table import ContractError
from stages.tables import Reader

MAX_TOKENS = 64
TIMEOUT_SECONDS = 120


def all_endpoints(root: Path) -> Iterator[Endpoint]:
    """Every endpoint recorded under a storage root, oldest first, living or not."""
    for file in sorted(root.glob(f"*/*/{NAME}"), key=lambda f: f.stat().st_mtime):
        yield from read_endpoints(file.parent)


def read_endpoints(folder: Path) -> list[Endpoint]:
    """The endpoints in a stage's output; none in other stages' outputs, nor among sample rows."""
    with contextlib.suppress(ContractError):  # a table of an older contract holds no server that we could stop
        manifest = Manifest.read(folder)
        found = [name for name, o in manifest.outputs.items() if o.contract == Endpoint.contract()]
        if not manifest.stub:
            return [row for name in found for row in Reader(folder / name, Endpoint).rows()]
    return []


def by_machine(endpoints: Iterable[Endpoint]) -> tuple[list[Endpoint], list[Endpoint]]:
    """Those of this machine, whose processes can be looked at, and those of others that share its file system."""
    here: list[Endpoint] = []
    elsewhere: list[Endpoint] = []
    for endpoint in endpoints:
        (here if endpoint.host == socket.gethostname() else elsewhere).append(endpoint)
    return here, elsewhere


def request(endpoint: Endpoint, prompt: str) -> tuple[str, str]:
    """Address and JSON body of a chat request."""
    message = {"role": "user", "content": prompt}
    body = {"model": endpoint.model, "messages": [message], "max_tokens": MAX_TOKENS, "temperature": 0}
    return f"{endpoint.url}/chat/completions", json.dumps(body)


def curl(endpoint: Endpoint) -> str:
    """A line for a shell that gets an answer."""
    url, body = request(endpoint, endpoint.prompt)
    return shlex.join(["curl", "-s", url, "-H", "Content-Type: application/json", "-d", body])


def answer(endpoint: Endpoint, prompt: str) -> str:
    """What the model answers; `OSError` if it does not."""
    url, body = request(endpoint, prompt)
    headers = {"Content-Type": "application/json"}
    post = urllib.request.Request(url, data=body.encode(), headers=headers)  # noqa: S310 - our own address
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before one's own machine
    try:
        with direct.open(post, timeout=TIMEOUT_SECONDS) as reply:
            return str(json.load(reply)["choices"][0]["message"]["content"])
    except (OSError, HTTPException, LookupError, TypeError, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the reply too
        raise OSError(
            f"no answer from {url}: {error}; parsl run --only deploy --force starts the server again"
        ) from None
