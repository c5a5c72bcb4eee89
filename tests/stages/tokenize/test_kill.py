"""A killed run goes on where it was and ends with the bytes of an unbroken one."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from stages.tokenize import encode, token_files
from stages.tokenize.encoders import Encoded, Reference
from tests.stages.tokenize.conftest import Inputs

ROOT = Path(__file__).parents[3]
# The stage in small pieces, each saved and followed by a rest: a kill finds it at work.
SLOW = """
import time
from stages.command import main
from stages.tokenize import Tokenize, encode, token_files
encode.PIECE_BYTES = 40_000
token_files.SAVE_SECONDS = token_files.SAVE_SHARE = 0
append = token_files.TokenFile.append
def slow(*arguments):
    append(*arguments)
    time.sleep(0.01)
token_files.TokenFile.append = slow
main(Tokenize)
"""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process too work in pieces of about 24 documents, each saved."""
    monkeypatch.setattr(encode, "PIECE_BYTES", 40_000)
    monkeypatch.setattr(token_files, "SAVE_SECONDS", 0)
    monkeypatch.setattr(token_files, "SAVE_SHARE", 0)


def kill_when(inputs: Inputs, out: Path, moment: Callable[[], bool], delay: float = 0.0, *flags: str) -> int:
    """Start a process and kill it (SIGKILL) so many seconds after the moment; returns its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *inputs.flags(out), *flags], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not moment():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    return process.wait()


def contents(out: Path) -> dict[str, bytes]:
    """All files that are the result: tables and token files."""
    found = [f for f in [*out.glob("tokens/*/*"), *out.glob("*/part-*")] if f.is_file()]
    return {str(f.relative_to(out)): f.read_bytes() for f in found}


def journal(out: Path, shard: str = "00000-of-00001") -> Path:
    """Where a run writes down how far it is."""
    return out / "progress" / "tokens" / shard


def saved(out: Path, shard: str = "00000-of-00001") -> int:
    """Count the documents that a run has written down as done."""
    state = journal(out, shard) / token_files.STATE
    return int(json.loads(state.read_text())["rows"]) if state.exists() else 0


@pytest.fixture(scope="module")
def whole(many: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The result of an unbroken run, in one piece."""
    out = tmp_path_factory.mktemp("whole")
    assert many.run(out) == 0
    return contents(out)


def test_killed_at_any_time(many: Inputs, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Killed before anything is saved and at random times after, then run again: the same bytes."""
    out, draw = tmp_path / "killed", random.Random()
    assert kill_when(many, out, (out / "locks").exists) == -signal.SIGKILL
    for _ in range(5):
        before, delay = saved(out), draw.uniform(0, 0.1)
        kill_when(many, out, lambda before=before: saved(out) > before, delay)
        assert saved(out) > before
    assert many.run(out) == 0
    assert contents(out) == whole


def test_only_what_was_not_done_is_done_again(
    many: Inputs, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill no document that was written down as done is encoded again."""
    out = tmp_path / "killed"
    assert kill_when(many, out, lambda: saved(out) >= 192) == -signal.SIGKILL
    done, again = saved(out), list[int]()
    original = Reference.encode

    def counted(encoder: Reference, texts: pa.StringArray) -> Encoded:
        again.append(len(texts))
        return original(encoder, texts)

    monkeypatch.setattr(Reference, "encode", counted)
    assert many.run(out, encoder="tokenizers") == 0
    assert 192 <= done < 640
    assert sum(again) == 640 - done
    assert contents(out) == whole


def test_a_lost_shard_is_redone_alone(many: Inputs, tmp_path: Path) -> None:
    """Of three shards one is killed; running it again changes no byte of the others, and the whole is as if unbroken."""
    for index in range(3):
        assert many.run(tmp_path / "unbroken", "--shard", f"{index}/3") == 0
    out = tmp_path / "killed"
    name = "00001-of-00003"
    assert many.run(out, "--shard", "0/3") == many.run(out, "--shard", "2/3") == 0
    assert kill_when(many, out, lambda: saved(out, name) >= 50, 0.0, "--shard", "1/3") == -signal.SIGKILL
    assert many.run(out, "--commit", "3") == 3
    others = {f: (out / f).stat().st_mtime_ns for f in contents(out) if name not in f}
    assert many.run(out, "--shard", "1/3") == 0
    assert {f: (out / f).stat().st_mtime_ns for f in others} == others
    assert many.run(out, "--commit", "3") == 0
    assert contents(out) == contents(tmp_path / "unbroken")


def interrupted(many: Inputs, out: Path, file: str = "train-papers-*.bin") -> Path:
    """Leave a run half done; returns one of its files."""
    assert kill_when(many, out, lambda: saved(out) >= 128) == -signal.SIGKILL
    (found,) = [*(out / "tokens" / "00000-of-00001").glob(file), *journal(out).glob(file)]
    return found


@pytest.mark.parametrize("file", ["train-papers-*.bin", "validation-records-*.lengths"])
def test_torn_and_lost_writes(many: Inputs, whole: dict[str, bytes], tmp_path: Path, file: str) -> None:
    """Bytes beyond what was saved, a file that nobody knows, one cut short or gone: the same bytes in the end."""
    found = interrupted(many, tmp_path / "0", file)
    with found.open("ab") as stream:
        stream.write(b"torn")
    (found.parent / "train-unknown-00000000.bin").write_bytes(b"\1\2")
    found = interrupted(many, tmp_path / "1", file)
    found.write_bytes(found.read_bytes()[: found.stat().st_size // 2])
    interrupted(many, tmp_path / "2", file).unlink()
    for out in tmp_path.iterdir():
        assert many.run(out) == 0
        assert contents(out) == whole


def test_files_of_other_work_are_not_taken_up(many: Inputs, whole: dict[str, bytes], tmp_path: Path) -> None:
    """What a killed run on other inputs, or by other code, left in the folder is not mixed in."""
    out = tmp_path / "killed"
    interrupted(many, out)
    state = journal(out) / token_files.STATE
    state.write_text(json.dumps(json.loads(state.read_text()) | {"key": "of other work"}))
    assert many.run(out) == 0
    assert contents(out) == whole


def test_killed_when_all_is_written(many: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that lost its process after its last row, before its record, encodes nothing again."""
    out = tmp_path / "killed"
    for index in range(2):
        assert many.run(out, "--shard", f"{index}/2") == 0
    before = contents(out)
    (out / "done" / "00001-of-00002.json").unlink()
    monkeypatch.setattr(encode, "choose", lambda *_: pytest.fail("an encoder was made"))
    assert many.run(out, "--shard", "1/2") == 0
    assert contents(out) == before
    assert many.run(out, "--commit", "2") == 0
    assert not (out / "progress").exists()
