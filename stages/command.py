"""The life of a stage: settings -> inputs -> run -> tables -> manifest. One command line for every stage."""

import argparse
import contextlib
import ctypes
import errno
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, TextIO

from pydantic import ValidationError

from schemas.manifest import NAME, Manifest, Output, Shard, write_atomic
from schemas.table import ContractError
from stages.base import PACKAGE_ROOT, SettingsError, Stage, code_sha256, rank
from stages.tables import Outputs, Reader

EXIT_CRASH, EXIT_SETTINGS, EXIT_CONTRACT, EXIT_INTERRUPTED = 1, 2, 3, 130
ALWAYS = ("pyarrow", "pydantic")  # packages whose version every manifest records
MISPLACED = {errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
LOCK_SECONDS = 3.0  # a killed process holds its locks until its last thread has gone; one that lives holds them longer


def main(stage: type[Stage], arguments: Sequence[str] | None = None) -> NoReturn:
    """The command line of a stage; the same flags for every stage."""
    _die_with_parent()
    try:
        _run(stage, _arguments(stage, arguments))
    except SettingsError as error:
        _fail(stage, str(error), EXIT_SETTINGS)
    except ContractError as error:
        _fail(stage, str(error), EXIT_CONTRACT)
    except KeyboardInterrupt:
        _fail(stage, "interrupted: what was done is not lost, the same command goes on", EXIT_INTERRUPTED)
    except OSError as error:
        traceback.print_exc()
        _fail(stage, f"{error.strerror or error}: {error.filename or 'a file of this stage'}", EXIT_CRASH)
    except Exception as error:  # noqa: BLE001 - the last line of the log must say what happened
        traceback.print_exc()
        _fail(stage, f"{type(error).__name__}: {error}", EXIT_CRASH)
    sys.exit(0)


def _fail(stage: type[Stage], words: str, code: int) -> NoReturn:
    print(f"stages.{stage.name}: {words}", file=sys.stderr, flush=True)
    sys.exit(code)


def _arguments(stage: type[Stage], arguments: Sequence[str] | None) -> argparse.Namespace:
    settings = f"settings, with their defaults in `parsl stages`: {', '.join(stage.model_fields) or 'none'}"
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage.name}", description=stage.__doc__, epilog=settings)
    parser.add_argument("--config", type=Path, help="settings, a JSON file (default: the stage's own defaults)")
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="do only part I (from 0) of N; then --commit")
    parser.add_argument("--commit", type=int, metavar="N", help="all N shards are done: write the manifest")
    parser.add_argument("--stub", action="store_true", help="write sample rows instead of working")
    for name, row in stage.inputs.items():
        needed = name not in stage.optional
        words = f"table of {row.__name__} rows{'' if needed else ' (may be left out)'}"
        parser.add_argument(f"--{name}", type=Path, required=needed, help=words)
    return parser.parse_args(arguments)


def _run(stage: type[Stage], arguments: argparse.Namespace) -> None:
    value = stage.parse(_settings(arguments.config))
    match arguments.shard.split("/"):
        case [i, n] if i.isdecimal() and n.isdecimal() and int(i) < int(n):
            shard = (int(i), int(n))
        case _:
            raise SettingsError(f"--shard: expected I/N with I from 0 to N-1, found {arguments.shard!r}")
    if arguments.commit is not None and arguments.commit < 1:
        raise SettingsError(f"--commit: expected the number of shards, at least 1, found {arguments.commit}")
    if stage.undivided and (shard[1] > 1 or (arguments.commit or 1) > 1):
        raise SettingsError(f"{stage.name} runs as one shard: {stage.undivided}")
    inputs = _inputs(stage, arguments, shard)
    _refuse_place(stage, arguments.out, inputs)
    if not arguments.stub:
        _require(stage)
    with _alone(arguments.out, arguments.commit is not None, shard):
        if arguments.commit is None:
            _work(value, inputs, arguments.out, shard, stub=arguments.stub)
        if rank() == 0 and (arguments.commit is not None or shard[1] == 1):
            commit(value, inputs, arguments.out, arguments.commit or 1, stub=arguments.stub)


def _inputs(stage: type[Stage], arguments: argparse.Namespace, shard: tuple[int, int]) -> dict[str, Reader]:
    """A reader of each input table; `ContractError` says what is wrong with all of them."""
    found, problems = {}, []
    for name, row in stage.inputs.items():
        if (folder := getattr(arguments, name)) is None:
            continue  # optional
        try:
            found[name] = Reader(folder, row, (0, 1) if name in stage.whole else shard)
        except ContractError as error:
            problems += [f"--{name} {folder}: {problem}" for problem in error.problems]
    if problems:
        name = next(iter(stage.inputs))
        raise ContractError(f"what {stage.name} reads, tables such as runs/STAGE/FINGERPRINT/{name}", problems)
    return found


def _refuse_place(stage: type[Stage], out: Path, inputs: Mapping[str, Reader]) -> None:
    """Keep a slip of the hand from writing over what another stage has made, or over an input."""
    if read := [name for name, reader in inputs.items() if reader.base.resolve() == out.resolve()]:
        raise SettingsError(f"--out {out}: --{read[0]} is read from there; give another folder")
    with contextlib.suppress(ContractError, OSError):
        if (found := Manifest.read(out).stage) != stage.name:
            words = f"found a finished output of {found}, expected none or one of {stage.name}"
            raise SettingsError(f"--out {out}: {words}; give another folder")


def _settings(file: Path | None) -> dict[str, object]:
    """The settings in a JSON file."""
    if file is None:
        return {}
    try:
        settings = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or f"not JSON: {error}"
        raise SettingsError(f"--config {file}: {why}; expected a file such as {{}}, with the settings' names") from None
    if not isinstance(settings, dict):
        found = type(settings).__name__
        raise SettingsError(f'--config {file}: expected a JSON object such as {{"name": value}}, found a {found}')
    return settings


def _require(stage: type[Stage]) -> None:
    missing = [p for p in stage.packages if importlib.util.find_spec(p) is None]
    if missing:
        cure = f"pip install -e '.[{stage.name}]'"
        raise SettingsError(f"{stage.name} needs {len(missing)} more package(s), {', '.join(missing)}: {cure}")


@contextlib.contextmanager
def _alone(folder: Path, committing: bool, shard: tuple[int, int]) -> Iterator[None]:  # noqa: FBT001
    """Keep a second process off the same shard; the lock goes with the process, however it ends."""
    if rank() != 0:
        yield
        return
    with _lock_file(folder, "commit" if committing else f"{shard[0]:05d}-of-{shard[1]:05d}") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(file):
            if time.monotonic() > deadline:
                raise SettingsError(f"{folder}: another process is at work here")
            time.sleep(0.05)
        yield


def _lock_file(folder: Path, name: str) -> TextIO:
    """The open file of a lock in a new or old output folder; SettingsError where no such folder can be."""
    try:
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        return (folder / "locks" / name).open("w")
    except OSError as error:
        if error.errno not in MISPLACED:
            raise
        raise SettingsError(
            f"--out {folder}: {error.strerror}: {error.filename}; give a folder that can be written"
        ) from None


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _work(stage: Stage, inputs: Mapping[str, Reader], folder: Path, shard: tuple[int, int], *, stub: bool) -> None:
    started, clock = datetime.now(UTC), time.monotonic()
    if rank() == 0:
        (folder / NAME).unlink(missing_ok=True)  # what they list is about to be written again
        _shard_file(folder, shard).unlink(missing_ok=True)
    scratch = None if rank() == 0 else tempfile.mkdtemp()  # other ranks' rows go nowhere
    outputs = Outputs(Path(scratch) if scratch else folder, stage.outputs, shard)
    outputs.folder = folder
    try:
        if stub:
            for name, row in stage.outputs.items():
                outputs[name].write(row.sample())
        else:
            stage.run(inputs, outputs)
            _conserved(stage, inputs, outputs)
        tables = outputs.close()
    except BaseException:
        outputs.abort()
        raise
    finally:
        if scratch:
            shutil.rmtree(scratch)
    if scratch:
        return
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    record = Shard(
        index=shard[0],
        count=shard[1],
        outputs=tables,
        dropped=dict(outputs.dropped),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        peak_memory_bytes=max(usage) * 1024,  # Linux counts in KiB
        host=socket.gethostname(),
        costs=outputs.costs,
    )
    write_atomic(_shard_file(folder, shard), record.model_dump_json())


def _conserved(stage: Stage, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    if stage.conserves is None:
        return
    source, target = stage.conserves
    found, kept, dropped = inputs[source].num_rows, outputs[target].num_rows, outputs.dropped.total()
    if found != kept + dropped:
        raise ContractError(stage.name, [f"{found} rows of {source} in, {kept} out and {dropped} dropped"])


def _shard_file(folder: Path, shard: tuple[int, int]) -> Path:
    (folder / "done").mkdir(parents=True, exist_ok=True)
    return folder / "done" / f"{shard[0]:05d}-of-{shard[1]:05d}.json"


def commit(stage: Stage, inputs: Mapping[str, Reader], folder: Path, count: int, *, stub: bool = False) -> Manifest:
    """Join the records of `count` shards into the manifest; `ContractError` names the shards that are missing."""
    shards, missing = [], []
    for index in range(count):
        try:
            shards.append(Shard.model_validate_json(_shard_file(folder, (index, count)).read_text()))
        except (FileNotFoundError, ValidationError):
            missing.append(f"shard {index}/{count} is not done")
    if missing:
        raise ContractError(f"{stage.name} in {folder}", missing)
    records = {name: reader.record() for name, reader in inputs.items()}
    manifest = Manifest(
        stage=stage.name,
        version=stage.version,
        fingerprint=stage.fingerprint({name: r.fingerprint for name, r in records.items()}),
        settings=stage.model_dump(mode="json"),
        external=stage.external(),
        inputs={n: r.model_copy(update={"path": _relative(r.path, folder)}) for n, r in records.items()},
        outputs={name: _joined(name, shards) for name in stage.outputs},
        dropped=dict(sum((Counter(s.dropped) for s in shards), Counter())),
        shards=tuple(shards),
        code_sha256=code_sha256(type(stage)),
        git_commit=_git_commit(),
        packages={p: importlib.metadata.version(p) for p in (*ALWAYS, *stage.packages) if _installed(p)},
        stub=stub,
    )
    _remove_stale_parts(folder, manifest)
    manifest.write(folder)
    shutil.rmtree(folder / "progress", ignore_errors=True)
    return manifest


def _relative(path: str, folder: Path) -> str:
    """From `folder` to `path` as they lie on disk: through a link, `..` leads elsewhere than its letters say."""
    return os.path.relpath(os.path.realpath(path), folder.resolve())


def _joined(name: str, shards: Sequence[Shard]) -> Output:
    first = shards[0].outputs[name]
    return first.model_copy(update={"parts": tuple(p for s in shards for p in s.outputs[name].parts)})


def _remove_stale_parts(folder: Path, manifest: Manifest) -> None:
    """Parts of an earlier, interrupted run with another number of shards are not part of this output."""
    listed = {folder / p.path for o in manifest.outputs.values() for p in o.parts}
    for name in manifest.outputs:
        for file in (folder / name).glob("part-*"):
            if file not in listed:
                file.unlink()


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _git_commit() -> str:
    if commit := os.environ.get("BOREALIS_COMMIT"):  # an image has its code without the history
        return commit
    git = shutil.which("git")
    if git is None or not (PACKAGE_ROOT / ".git").exists():
        return ""
    command = [git, "-C", str(PACKAGE_ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _die_with_parent() -> None:
    """If the runner that started this process dies, however, end too (Linux): no orphan goes on in its folder."""
    parent = os.environ.get("BOREALIS_PARENT")
    if parent and int(parent) == os.getppid():
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
