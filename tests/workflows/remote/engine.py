"""Hand one task to a real engine of globus-compute-endpoint, with no cloud; runs in that package's own environment."""

import json
import sys
import uuid

from globus_compute_common import messagepack
from globus_compute_endpoint import engines
from globus_compute_endpoint.engines.base import GCFuture
from globus_compute_sdk.serialize import ComputeSerializer, JSONData
from parsl.providers import LocalProvider

PATIENCE_SECONDS = 900


def main() -> None:
    """Read what to run on standard input; print the answer as the last line."""
    told = json.load(sys.stdin)
    serializer = ComputeSerializer(strategy_data=JSONData())
    packed = [told["code"], serializer.serialize([told["request"]]), serializer.serialize({})]
    task = messagepack.message_types.Task(task_id=uuid.uuid4(), task_buffer=serializer.pack_buffers(packed))
    future = GCFuture(gc_task_id=task.task_id)
    engine = make(told["engine"])
    engine.start(endpoint_id=uuid.uuid4(), run_dir=told["folder"])
    try:
        json_strategy = ["globus_compute_sdk.serialize.concretes.JSONData"]
        engine.submit(future, messagepack.pack(task), {}, json_strategy)
        result = messagepack.unpack(future.result(PATIENCE_SECONDS))
    finally:
        engine.shutdown()
    if result.error_details:
        sys.exit(result.data)
    print(json.dumps(JSONData().deserialize(result.data)))


def make(name: str):
    """The engine of a login node, or that of a job, on this machine."""
    if name == "ThreadPoolEngine":
        return engines.ThreadPoolEngine(max_workers=1)
    provider = LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1)
    return engines.GlobusComputeEngine(address="127.0.0.1", max_workers_per_node=1, provider=provider)


if __name__ == "__main__":
    main()
