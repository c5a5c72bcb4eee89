"""Several ranks on this machine, for tests: processes forked from one that has imported torch already."""

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from stages.model.distributed import joined

SECONDS = 900  # that all ranks together may take on a busy machine


def run(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(world, *arguments)` gives on each of `size` ranks; the first error of any ends all and is raised."""
    return run_apart(size, _joined, work, *arguments)


def run_apart(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` gives in each of `size` processes, in an environment as a launcher would make it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.model.native", "stages.model.checkpoint", __name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    environs = [
        {"RANK": str(r), "WORLD_SIZE": str(size), "LOCAL_RANK": str(r), "MASTER_PORT": str(port)} for r in range(size)
    ]
    processes = [
        context.Process(target=_rank, args=(sender, environ, work, arguments), daemon=True)
        for (_, sender), environ in zip(pipes, environs, strict=True)
    ]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()
    try:
        return _answers([receiver for receiver, _ in pipes])
    finally:
        for process in processes:
            process.kill()
            process.join()


def _answers(receivers: list[Connection]) -> list[Any]:
    found: dict[int, Any] = {}
    deadline = time.monotonic() + SECONDS
    while len(found) < len(receivers):
        waiting = {r: i for i, r in enumerate(receivers) if i not in found}
        ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
        assert ready, "the ranks took too long"
        for receiver in ready:
            assert isinstance(receiver, Connection)
            words, answer = receiver.recv()
            assert not words, words
            found[waiting[receiver]] = answer
    return [found[i] for i in range(len(receivers))]


def _rank(sender: Connection, environ: dict[str, str], work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environ, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    try:
        sender.send(("", work(*arguments)))
    except BaseException:  # noqa: BLE001 - the test raises it
        sender.send((traceback.format_exc(), None))


def _joined(work: Callable[..., Any], *arguments: Any) -> Any:
    with joined() as world:
        return work(world, *arguments)
