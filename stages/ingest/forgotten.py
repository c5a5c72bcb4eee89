"""What was taken down and may not come back: a line a digest in `forgotten.jsonl`, under the site's root.

`parsl forget` writes it, `ingest` refuses what it names. It is no part of a fingerprint: taking a document down must not
make every output of the corpus another one. It holds digests of bytes, a date and a reason, nothing of the document; the
same text in other bytes is not known again by it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from schemas.manifest import write_atomic

NAME = "forgotten.jsonl"


def record(output: Path) -> Path:
    """The record of the root under which a stage's output folder (`<root>/<stage>/<fingerprint>`) lies."""
    return output.parent.parent / NAME


def read(file: Path) -> dict[str, str]:
    """Digests and reasons; none where nothing was ever forgotten."""
    if not file.is_file():
        return {}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {row["sha256"]: row["reason"] for row in rows}


def add(file: Path, reasons: Mapping[str, str]) -> None:
    """Add digests that are not there yet."""
    before = file.read_text() if file.is_file() else ""
    known, now = read(file), datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        json.dumps({"sha256": digest, "reason": reason, "when": now}) + "\n"
        for digest, reason in reasons.items()
        if digest not in known
    ]
    write_atomic(file, before + "".join(lines))
