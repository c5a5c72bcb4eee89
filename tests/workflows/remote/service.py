"""What of Globus Compute stands between the SDK and an endpoint, on the loopback interface: its web service and its broker.

The routes, fields and limits are those that globus-sdk and globus-compute-sdk 4.19 use; results go through a real RabbitMQ. An
endpoint is a fresh Python process that has the SDK and not this project, or one of the endpoint's own engines.
"""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BYTES = 10_000_000  # of a submission, as the service documents it
PREFIX = "loopback-"
WORKER = """
import json, sys, traceback, uuid
for name in ("workflows", "stages", "schemas"):
    sys.modules[name] = None
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result, ResultErrorDetails
from globus_compute_sdk.serialize import ComputeSerializer
told = json.load(sys.stdin)
try:
    function, args, kwargs = ComputeSerializer().unpack_and_deserialize(told["task"])
    data = ComputeSerializer.serialize_from_list(function(*args, **kwargs), told["strategies"])
    result = Result(task_id=uuid.UUID(told["id"]), data=data)
except Exception:
    error = ResultErrorDetails(code="RemoteExecutionError", user_message="the task failed")
    result = Result(task_id=uuid.UUID(told["id"]), data=traceback.format_exc(), error_details=error)
sys.stdout.buffer.write(messagepack.pack(result))
"""

Task = dict[str, Any]
Worker = Callable[[Task], bytes]


def fresh_process(task: Task) -> bytes:
    """Run a task where this project cannot be imported; the result, packed as it goes over the wire."""
    words = [sys.executable, "-I", "-c", WORKER]
    done = subprocess.run(words, input=json.dumps(task).encode(), cwd="/", capture_output=True, check=True)
    return done.stdout


class Service:
    """Functions, submissions and the sizes of all that passed, in memory."""

    def __init__(self, broker: str, worker: Worker = fresh_process) -> None:
        self.broker, self.worker = broker, worker
        self.functions: dict[str, str] = {}
        self.submitted: list[dict[str, Any]] = []
        self.sizes: dict[str, list[int]] = {"submission": [], "task": [], "result": []}
        self.threads: list[threading.Thread] = []

    def get(self, path: str) -> tuple[int, Any]:
        """Versions, a function's source, the broker's address."""
        if path.startswith("/v2/version"):
            return 200, {"api": "1", "min_ep_version": "2.0.0", "min_sdk_version": "2.0.0"}
        if path == "/v2/get_amqp_result_connection_url":
            return 200, {"queue_prefix": PREFIX, "connection_url": self.broker}
        source = self.functions.get(path.removeprefix("/v2/functions/"))
        if source is None:
            return 404, {"code": "RESOURCE_NOT_FOUND", "message": f"nothing at {path}"}
        return 200, {"function_code": source}

    def post(self, path: str, body: dict[str, Any], size: int) -> tuple[int, Any]:
        """Register a function; or take tasks, and have an endpoint do them."""
        if path == "/v3/functions":
            name = str(uuid.uuid4())
            packed = (
                body["function_code"] if body["serialized"] else f"st\n{body['function_name']}:{body['function_code']}"
            )
            self.functions[name] = packed
            return 200, {"function_uuid": name}
        if size > MAX_BYTES:
            return 413, {"code": "TASK_PAYLOAD_TOO_LARGE", "message": f"{size} bytes"}
        endpoint = path.split("/")[3]
        self.submitted.append(body)
        self.sizes["submission"].append(size)
        group = body.get("task_group_id") or str(uuid.uuid4())
        if body["create_queue"]:
            with self.channel() as channel:
                channel.queue_declare(PREFIX + group)
        tasks = {
            name: [self.begin(name, packed, group, body) for packed in all_] for name, all_ in body["tasks"].items()
        }
        return 200, {"tasks": tasks, "task_group_id": group, "request_id": str(uuid.uuid4()), "endpoint_id": endpoint}

    def begin(self, function: str, packed: str, group: str, body: dict[str, Any]) -> str:
        """Hand a task to the endpoint; its id."""
        from globus_compute_sdk.serialize import ComputeSerializer

        buffers = [self.functions[function], *ComputeSerializer.unpack_buffers(packed)]
        task = {"id": str(uuid.uuid4()), "task": ComputeSerializer.pack_buffers(buffers)}
        task["strategies"] = body.get("result_serializers") or []
        self.sizes["task"].append(len(task["task"]))
        thread = threading.Thread(target=self.finish, args=(task, group))
        self.threads.append(thread)
        thread.start()
        return str(task["id"])

    def finish(self, task: Task, group: str) -> None:
        """Run a task and put its result into the queue of its group."""
        result = self.worker(task)
        self.sizes["result"].append(len(result))
        with self.channel() as channel:
            channel.basic_publish("", PREFIX + group, result)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel to the broker."""
        import pika

        connection = pika.BlockingConnection(pika.URLParameters(self.broker))
        try:
            yield connection.channel()
        finally:
            connection.close()


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """The service answers at the address that is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(*service.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(*service.post(self.path, json.loads(body), len(body)))

        def answer(self, status: int, reply: Any) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002, ARG002 - the parent's signature
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        for thread in service.threads:
            thread.join()
