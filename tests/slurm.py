"""A real Slurm on this machine, for as long as a block or a command takes: `python -m tests.slurm COMMAND`.

A controller, a daemon for each of four node names, and the MUNGE that they trust, all as the user who asks, in a folder of
their own; the system's Slurm is neither read nor touched. Every node name stands for the whole machine, so jobs run side by
side that on a cluster would not meet. There is no accounting: states come from `squeue`, as on many small clusters.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.base import PACKAGE_ROOT
from tests.loopback import free_ports
from workflows.cluster import IN_JOB

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "salloc")
CURE = "apt-get install --no-install-recommends slurm-wlm munge"
NODES = ("n1", "n2", "n3", "n4")  # one for each of the two one-node jobs of a run, two for the job over many nodes
NODES_A_JOB = 2
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # not in every user's PATH
PATIENCE_SECONDS = 120
# Many-node stages listen at a port by their job's number, so two such Slurms at a time must not count alike.
CONFIGURATION = """\
ClusterName=borealis
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
FirstJobId={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=24:00:00 State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm and MUNGE that are not here."""
    return [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    """The PATH with the folders of daemons after it; this Python's own need not be in it."""
    return os.pathsep.join((os.environ["PATH"], *SBIN))


def environment(folder: Path) -> dict[str, str]:
    """Variables of a login node, and what the site file for Slurm reads of them."""
    python = Path(sys.executable).parent
    lines = f"export PATH='{python}':\"$PATH\"; export PYTHONPATH='{PACKAGE_ROOT}'; export TMPDIR=/tmp"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "PBS_")) and k not in IN_JOB}
    kept |= {"PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}
    kept |= {"BOREALIS_NODES": str(NODES_A_JOB), "BOREALIS_PYTHON": sys.executable, "BOREALIS_WORKER_INIT": lines}
    return kept


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Slurm is up, all its nodes idle; gives the environment in which its commands find it. Afterwards nothing is left."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket lies in it
    daemons: list[subprocess.Popen[bytes]] = []
    variables = environment(folder)
    try:
        write(folder)
        for words in commands(folder):
            daemons.append(start(words, folder, variables))
            if words[0] == "munged":
                wait(folder / "munge" / "socket", daemons, folder)
        wait_for_nodes(variables, daemons, folder)
        yield variables
    finally:
        stop(daemons, variables)
        shutil.rmtree(folder)


def write(folder: Path) -> None:
    """The key, the folders and the configuration."""
    for name in ("munge", "state", *NODES):
        (folder / name).mkdir(mode=0o700)
    key = ["mungekey", "--create", "--keyfile", str(folder / "munge" / "key")]
    subprocess.run(key, check=True, env={**os.environ, "PATH": search_path()})
    ports = free_ports(len(NODES) + 1)
    host = socket.gethostname().split(".")[0]
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores}"
        for name, port in zip(NODES, ports[1:], strict=True)
    ]
    user = subprocess.run(["id", "--user", "--name"], capture_output=True, text=True, check=True).stdout.strip()
    told = {"host": host, "port": ports[0], "user": user, "folder": folder}
    text = CONFIGURATION.format(**told, nodes="\n".join(lines), names=",".join(NODES))
    (folder / "slurm.conf").write_text(text)


def commands(folder: Path) -> list[list[str]]:
    """The daemons, in the order in which they need each other. MUNGE takes a folder under `/tmp` only by force."""
    munge = folder / "munge"
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", *(f"--{flag}={munge / name}" for flag, name in files.items())]
    return [munged, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", name] for name in NODES)]


def start(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """A daemon in the foreground, its words in a file, in a session of its own: an interrupt is for the command alone."""
    with (folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            words, cwd="/", env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def wait(file: Path, daemons: Sequence["subprocess.Popen[bytes]"], folder: Path) -> None:
    """Until a file is there."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not file.exists():
        check(daemons, folder, end)


def wait_for_nodes(variables: Mapping[str, str], daemons: Sequence["subprocess.Popen[bytes]"], folder: Path) -> None:
    """Until all nodes are idle."""
    end = time.monotonic() + PATIENCE_SECONDS
    words = ["sinfo", "--noheader", "--Node", "--format=%T"]
    while True:
        told = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        if told.returncode == 0 and told.stdout.split() == ["idle"] * len(NODES):
            return
        check(daemons, folder, end)


def check(daemons: Sequence["subprocess.Popen[bytes]"], folder: Path, end: float) -> None:
    """Wait a little; `RuntimeError` with the daemons' words if one has ended or the time is over."""
    time.sleep(0.1)
    if time.monotonic() > end or any(d.poll() is not None for d in daemons):
        words = (folder / "daemons.log").read_text(errors="replace")
        raise RuntimeError(f"Slurm did not start:\n{words[-4000:]}")


def stop(daemons: Sequence["subprocess.Popen[bytes]"], variables: Mapping[str, str]) -> None:
    """End the jobs, then the daemons, the last first; a daemon that does not go is killed."""
    if len(daemons) > 1:
        cancel = ["scancel", "--user", str(os.getuid())]
        subprocess.run(cancel, env=dict(variables), capture_output=True, check=False, timeout=PATIENCE_SECONDS)
        wait_for_jobs(variables)
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def wait_for_jobs(variables: Mapping[str, str]) -> None:
    """Until no job is left, as its processes hold files in the folder."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        told = subprocess.run(["squeue", "--noheader"], env=variables, capture_output=True, text=True, check=False)
        if not told.stdout.strip():
            return
        time.sleep(0.2)


def ended(variables: Mapping[str, str]) -> list[dict[str, str]]:
    """The jobs that have ended, as the controller wrote them down: `JobId`, `Name`, `JobState`, `NodeCnt`, ..."""
    file = Path(variables["SLURM_CONF"]).with_name("ended")
    lines = file.read_text().splitlines() if file.is_file() else []
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def main(words: Sequence[str]) -> int:
    """Run a command on a Slurm of its own; its exit code, or 2 where there is no Slurm or no command."""
    if lacking := missing():
        print(f"no {', '.join(lacking)} here: {CURE}", file=sys.stderr)
        return 2
    if not words:
        print("usage: python -m tests.slurm COMMAND ...", file=sys.stderr)
        return 2
    with running() as variables:
        command = subprocess.Popen(words, env=variables)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the command's: Parsl gives back its jobs on it
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())  # the daemons must not be left
        code = command.wait()
        for job in ended(variables):
            print(f"job {job['JobId']}: {job['Name']}, {job['NodeCnt']} node(s), {job['JobState']}")
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
