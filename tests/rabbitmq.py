"""RabbitMQ for a test's own time: Debian's server on free ports of the loopback interface, all its files in one folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.loopback import free_ports

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # those in the PATH run as a user of their own only
SERVER = PROGRAMS / "rabbitmq-server"
CURE = "apt-get install --no-install-recommends rabbitmq-server"
NODE = "borealis@localhost"
PATIENCE_SECONDS = 300


def missing() -> bool:
    """Whether there is no server here."""
    return not SERVER.is_file() or shutil.which("epmd") is None


class Broker(NamedTuple):
    """A server that runs, and the environment in which its commands find it."""

    address: str
    environment: dict[str, str]

    def break_connections(self) -> None:
        """Close every connection, as soon as there is one."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._command("list_connections", "pid"):
            assert time.monotonic() < end, "nobody connected"
        self._command("close_all_connections", "a test breaks them")

    def _command(self, *words: str) -> str:
        command = [str(PROGRAMS / "rabbitmqctl"), "--quiet", "--node", NODE, *words]
        done = subprocess.run(
            command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        return done.stdout.removeprefix("pid").strip()


@contextmanager
def running() -> Iterator[Broker]:
    """The server is up. Afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
    port, names_port, distribution = free_ports(3)
    environment = settings(folder, port, names_port, distribution)
    try:
        with (folder / "words").open("wb") as words:
            server = subprocess.Popen(
                [str(SERVER)], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words
            )
        try:
            wait(server, port, folder)
            yield Broker(f"amqp://guest:guest@127.0.0.1:{port}/%2F", environment)
        finally:
            server.terminate()
            server.wait()
            subprocess.run(["epmd", "-kill"], env=environment, check=False, capture_output=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settings(folder: Path, port: int, names_port: int, distribution: int) -> dict[str, str]:
    """The server's environment: Erlang's own register of names too is at a port of this test's."""
    (folder / "plugins").write_text("[].")
    (folder / "none.conf").write_text("")
    here = "{127,0,0,1}"
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))},
        "HOME": str(folder),  # of the cookie
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {here}",
        "RABBITMQ_MNESIA_BASE": str(folder / "state"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }


def wait(server: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    """Until the server takes connections; `RuntimeError` with its words if it does not."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                words = (folder / "words").read_text(errors="replace")
                raise RuntimeError(f"RabbitMQ did not start:\n{words[-4000:]}") from None
            time.sleep(0.2)
        else:
            return
