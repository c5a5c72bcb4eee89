"""HTTP servers of a test's own, on the loopback interface, and ports for servers of others."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]  # status; bytes go out as they are, all else as JSON
Answer = Callable[[dict[str, Any]], Reply]


@contextmanager
def servers() -> Iterator[Callable[[Answer], int]]:
    """Starts servers, each of which answers every POST as its function says of the body; gives their ports.

    A body that is no JSON is there as its bytes, under `data`.
    """
    running: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                body = {"data": data} if data[:1] != b"{" else json.loads(data)
                body |= {"path": self.path, "key": self.headers["authorization"]}
                status, reply = answer(body)
                answered = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answered)))
                self.end_headers()
                self.wfile.write(answered)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002, ARG002 - the parent's signature
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return int(server.server_address[1])

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for one in sockets:
        one.close()
    return ports
