"""A killed run goes on where it was and ends with the bytes of an unbroken one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.command import main
from stages.tokenize import Tokenize, encode
from stages.train_tokenizer import bpe

ROOT = Path(__file__).parents[3]


def flags(documents: Path, out: Path) -> list[str]:
    """The command line of every run here."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps({"vocab_size": 500}))
    return ["--documents", str(documents), "--out", str(out), "--config", str(out / "settings.json")]


def finish(documents: Path, out: Path) -> None:
    """Run to the end in this process."""
    with pytest.raises(SystemExit) as exit_:
        main(Tokenize, flags(documents, out))
    assert exit_.value.code == 0


def kill_when(documents: Path, out: Path, moment: Callable[[], bool]) -> int:
    """Start a process and kill it (SIGKILL) at the moment; returns its exit status."""
    command = [sys.executable, "-m", "stages.tokenize", *flags(documents, out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not moment():
        time.sleep(0.002)
    process.kill()
    return process.wait()


def contents(out: Path) -> dict[str, bytes]:
    """Return all files that are the result: tables, tokenizer and token files."""
    files = [*out.glob("tokens/*"), *out.glob("*/part-*"), out / "tokenizer.json"]
    return {str(f.relative_to(out)): f.read_bytes() for f in files}


def encoded(out: Path) -> int:
    """Count the documents that a run has written down as done."""
    journal = out / "tokens" / "lengths"
    return journal.stat().st_size // 4 if journal.exists() else 0


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the result of an unbroken run."""
    out = tmp_path_factory.mktemp("whole")
    finish(many, out)
    return contents(out)


def test_killed_at_any_time(many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Killed while it trains, while it encodes and at random times, then run again: the same bytes."""
    out, draw = tmp_path / "killed", random.Random(os.getpid())
    times = [time.monotonic() + draw.uniform(2, 6)]
    moments: list[Callable[[], bool]] = [
        (out / "tokens" / "key").exists,
        lambda: (out / "tokenizer.tmp").exists() or (out / "tokenizer.json").exists(),
        lambda: encoded(out) >= 64,
        lambda: encoded(out) >= 256,
        lambda: time.monotonic() > times[0],
        lambda: encoded(out) >= 448,
    ]
    killed = [kill_when(many, out, moment) for moment in moments]
    assert killed.count(-signal.SIGKILL) >= 4, killed
    finish(many, out)
    assert contents(out) == whole


def test_only_what_was_not_done_is_done_again(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill the tokenizer is not trained again and no document that was written down is encoded again."""
    out = tmp_path / "killed"
    assert kill_when(many, out, lambda: encoded(out) >= 192) == -signal.SIGKILL
    done, again = encoded(out), list[int]()
    original = encode.Encoder.__call__

    def counted(encoder: encode.Encoder, texts: list[str]) -> list[list[int]]:
        again.append(len(texts))
        return original(encoder, texts)

    monkeypatch.setattr(bpe, "train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(encode.Encoder, "__call__", counted)
    finish(many, out)
    assert 192 <= done < 640
    assert sum(again) == 640 - done


def interrupted(many: Path, out: Path) -> tuple[Path, Path]:
    """Leave a run half done; returns its journal and its file of training ids."""
    assert kill_when(many, out, lambda: encoded(out) >= 128) == -signal.SIGKILL
    return out / "tokens" / "lengths", out / "tokens" / "train-00000.bin"


def test_torn_and_lost_writes(many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A number cut in half in the journal, ids beyond it, or ids that never reached the disk: the same bytes."""
    out = tmp_path / "killed"
    journal, ids = interrupted(many, out)
    journal.write_bytes(journal.read_bytes() + b"\x01\x02\x03")
    with ids.open("ab") as file:
        file.write(b"beyond the journal")
    finish(many, out)
    assert contents(out) == whole
    (out / "manifest.json").unlink()
    journal, ids = interrupted(many, out)
    ids.write_bytes(ids.read_bytes()[: ids.stat().st_size // 2])
    finish(many, out)
    assert contents(out) == whole


def test_files_of_other_settings_are_not_taken_up(many: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """What a killed run with another vocabulary left in the folder is not mixed in."""
    out = tmp_path / "killed"
    interrupted(many, out)
    (out / "tokens" / "key").write_text("of other settings")
    (out / "tokenizer.json").write_text("{}")
    finish(many, out)
    assert contents(out) == whole
