"""Pages that OCR has read, kept on disk until the stage is done: a killed run does not read them again."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from stages.parse.lines import Line, Page


class Store:
    """One small file a page, under `ocr-<shard>-<key>` of the stage's output; `key` says how pages were read."""

    def __init__(self, folder: Path, shard: tuple[int, int], key: str) -> None:
        name = f"ocr-{shard[0]:05d}-of-{shard[1]:05d}-"
        self.folder = folder / (name + hashlib.sha256(key.encode()).hexdigest()[:8])
        for stale in folder.glob(name + "*"):
            if stale != self.folder:
                shutil.rmtree(stale)

    def get(self, source_id: str, number: int) -> Page | None:
        """A page, if it was read before."""
        try:
            fields = json.loads(self._file(source_id, number).read_text())
        except FileNotFoundError:
            return None
        return Page(**{**fields, "lines": tuple(Line(*line) for line in fields["lines"])})

    def put(self, source_id: str, page: Page) -> None:
        """Keep a page, all of it or nothing."""
        file = self._file(source_id, page.number)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        fields = {n: getattr(page, n) for n in ("number", "width", "height", "lines", "parser", "origin", "verdict")}
        temporary.write_text(json.dumps(fields))
        temporary.replace(file)

    def remove(self) -> None:
        """Forget all pages: the stage's tables have them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, source_id: str, number: int) -> Path:
        return self.folder / source_id[:2] / f"{source_id}-{number}.json"
