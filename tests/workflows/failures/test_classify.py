"""Classes are told apart by what processes, libraries and schedulers really say."""

import errno
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.providers.errors import SubmitException

from workflows.failures.classify import MAX_WHY_CHARS, classify
from workflows.launch import StageFailed, launch

WALLTIME = "=>> PBS: job killed: walltime 3613 exceeded limit 3600"
SLURM = "slurmstepd: error: *** JOB 77 ON node1 CANCELLED AT 2026-11-23T02:00:00 DUE TO {} ***"


def failed(code: int, tail: str = "") -> StageFailed:
    """A stage that ended so."""
    return StageFailed("parse 3/8", code, "log", tail)


class Executor:
    """What an executor's error needs of it."""

    label = "gpu"


@pytest.mark.parametrize(
    ("code", "tail", "kind", "why"),
    [
        (2, "stages.parse: parse.ocr: tesseract is not installed", "settings", "parse.ocr"),
        (2, "stages.parse: /runs/parse/x: another process is at work here", "node-lost", "another process"),
        (3, "stages.filter: documents:\n  language: 3 row(s) break it", "contract", "3 row(s) break it"),
        (1, "Traceback ...\nstages.dedup: TypeError: unhashable type: 'list'", "code", "unhashable"),
        (1, "Traceback ...\nstages.dedup: KeyError: 'a connection timed out'", "transient-io", "timed out"),
        (1, "a warning: Connection reset by peer\nstages.dedup: ValueError: no", "code", "ValueError: no"),
        (1, "stages.parse: Input/output error: papers/x.pdf", "transient-io", "papers/x.pdf"),
        (1, "stages.parse: Stale file handle: papers/x.pdf", "transient-io", "Stale"),
        (1, "stages.parse: Cannot send after transport endpoint shutdown: x", "transient-io", "transport"),
        (1, "stages.dedup: No space left on device: /local/scratch/keys", "disk-full", "/local/scratch/keys"),
        (1, "stages.dedup: Disk quota exceeded: /home/x", "disk-full", "quota"),
        (1, "stages.pretrain: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "out-of-memory", "2 GiB"),
        (1, "stages.pretrain: RuntimeError: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY", "out-of-memory", "UR_RESULT"),
        (1, "stages.dedup: ArrowMemoryError: malloc of size 8589934592 failed", "out-of-memory", "malloc"),
        (1, "stages.dedup: Cannot allocate memory: a file of this stage", "out-of-memory", "allocate"),
        (134, "terminate called after throwing an instance of 'std::bad_alloc'\nAborted", "out-of-memory", "bad_alloc"),
        (137, "", "out-of-memory", "SIGKILL"),
        (137, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0", "out-of-memory", "oom_kill"),
        (143, "", "node-lost", "SIGTERM"),
        (139, "step 3: loss 2.1", "code", "SIGSEGV"),
        (1, "stages.parse: ArrowInvalid: Parquet magic bytes not found in footer.", "contract", "magic bytes"),
        (127, "mpiexec: not found", "settings", "mpiexec"),
        (126, "", "settings", "exit 126"),
        (1, "", "code", "no output"),
    ],
)
def test_stages(code: int, tail: str, kind: str, why: str) -> None:
    """Exit code, signal and a stage's last word give the class, and the line that shows it; a warning before it does not."""
    cause = classify(failed(code, tail))
    assert cause.kind == kind
    assert why in cause.why


@pytest.mark.parametrize(
    ("error", "job", "kind"),
    [
        (ManagerLost(b"abc", "x3006"), "", "node-lost"),
        (WorkerLost(3, "x3006"), "", "node-lost"),
        (ManagerLost(b"abc", "x3006"), WALLTIME, "walltime"),
        (ManagerLost(b"abc", "x3006"), SLURM.format("TIME LIMIT"), "walltime"),
        (ManagerLost(b"abc", "x3006"), SLURM.format("PREEMPTION"), "node-lost"),
        (ManagerLost(b"abc", "x3006"), SLURM.format("NODE FAILURE"), "node-lost"),
        (failed(143), WALLTIME, "walltime"),
        (failed(137), WALLTIME, "walltime"),
        (failed(137), SLURM.format("PREEMPTION"), "node-lost"),
        (failed(1, "stages.x: TypeError: no"), WALLTIME, "code"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "log"), "", "transient-io"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "log"), "", "disk-full"),
        (ValueError("no"), "", "code"),
    ],
)
def test_schedulers(error: Exception, job: str, kind: str) -> None:
    """A lost worker is a walltime where its job's error file says so; a stage that ended by itself is judged by itself."""
    cause = classify(error, job)
    assert cause.kind == kind
    if job and kind != "code":
        assert cause.why == job


def test_a_job_that_nobody_takes() -> None:
    """Refused three times, an executor is in a bad state: qsub's own last words are the reason."""
    refused = SubmitException("parsl.gpu", "Submit command 'qsub x' failed", stdout="", stderr="qsub: Unknown queue\n")
    words = f"Error 1:\n\tFailed to start block 0: {refused}\n" * 3
    cause = classify(BadStateException(Executor(), Exception(words)))
    assert cause.kind == "settings"
    assert cause.why == "no job: qsub: Unknown queue"


def test_a_crash_at_a_row() -> None:
    """A crash in compiled code is a bad row where the stage has said at which row it was."""
    cause = classify(failed(139), row="row 7 (doc-7)")
    assert cause.kind == "bad-row"
    assert "row 7 (doc-7)" in cause.why


def test_reasons_are_short() -> None:
    """A message of a thousand lines is cut, and is one line."""
    why = classify(failed(3, "stages.x: table:\n" + "  a problem\n" * 1000)).why
    assert len(why) <= MAX_WHY_CHARS
    assert "\n" not in why


PROGRAMS = {
    "out-of-memory": "bytearray(1 << 40)",
    "disk-full": "f = open('/dev/full', 'wb', buffering=0); f.write(b'x')",
    "transient-io": "open('/proc/self/mem', 'rb').read(1)",
    "code": "1 / 0",
}
STAGE = """
import sys
from stages.base import Stage
from stages.command import main
from schemas.corpus import Dropped

class Toy(Stage):
    "Fails."
    name = "toy"
    outputs = {{"dropped": Dropped}}
    def run(self, inputs, outputs):
        {body}

main(Toy, ["--out", sys.argv[1]])
"""


@pytest.mark.parametrize("kind", list(PROGRAMS))
def test_real_errors_of_a_stage(tmp_path: Path, kind: str) -> None:
    """What the system itself answers (no memory, a full device, an unreadable address) is told apart in a real stage."""
    program = tmp_path / "toy.py"
    program.write_text(STAGE.format(body=PROGRAMS[kind]))
    with pytest.raises(StageFailed) as error:
        launch("toy", [sys.executable, str(program), str(tmp_path / "out")], str(tmp_path / "log" / "run.txt"), ".")
    assert classify(error.value).kind == kind


@pytest.mark.parametrize(("number", "kind"), [("KILL", "out-of-memory"), ("TERM", "node-lost"), ("SEGV", "code")])
def test_real_signals(tmp_path: Path, number: str, kind: str) -> None:
    """A process that a signal ends has the shell's code for it, and its class."""
    with pytest.raises(StageFailed) as error:
        launch("toy", ["sh", "-c", f"kill -{number} $$"], str(tmp_path / "log" / "run.txt"), str(tmp_path))
    assert classify(error.value).kind == kind


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """A launcher or container runtime that is missing is a matter of settings, and is named."""
    with pytest.raises(StageFailed) as error:
        launch("toy", ["no-such-mpiexec", "-n", "2"], str(tmp_path / "log" / "run.txt"), str(tmp_path))
    cause = classify(error.value)
    assert cause.kind == "settings"
    assert "no-such-mpiexec" in cause.why


def test_only_this_attempt_counts(tmp_path: Path) -> None:
    """What an earlier attempt wrote into the same log is no evidence of the next one's failure."""
    log = tmp_path / "log" / "run.txt"
    for line, kind in (("No space left on device", "disk-full"), ("nothing", "code")):
        with pytest.raises(StageFailed) as error:
            launch("toy", ["sh", "-c", f"echo {line}; exit 1"], str(log), str(tmp_path))
        assert classify(error.value).kind == kind


def test_a_failure_crosses_processes() -> None:
    """A worker's error reaches the runner whole."""
    error = pickle.loads(pickle.dumps(failed(137, "tail")))  # noqa: S301 - our own bytes
    assert (error.name, error.code, error.log, error.tail, error.failure) == ("parse 3/8", 137, "log", "tail", None)


def test_a_limit_of_address_space_is_out_of_memory(tmp_path: Path) -> None:
    """A real limit of memory, as a container or `ulimit` sets it, ends in the class for it."""
    program = tmp_path / "toy.py"
    program.write_text(STAGE.format(body="held = [bytearray(64 << 20) for _ in range(200)]"))
    limit = (4 << 30, 4 << 30)
    command = [sys.executable, str(program), str(tmp_path / "out")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    assert classify(failed(done.returncode, done.stderr)).kind == "out-of-memory"
