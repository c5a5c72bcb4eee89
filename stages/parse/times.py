"""How long each page took and who read it: lines of CSV beside the tables, and sums by parser in the manifest.

Times differ from run to run and tables must not, so they are no table: `seconds/SHARD.csv` has a line a reading, with the
source, the page (from 1), the parser and seconds by the clock on the wall. Pages that an earlier, killed run had read are not in it.
"""

import csv
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from schemas.manifest import write_atomic
from stages.parse.lines import Page
from stages.tables import Outputs

FOLDER, HEAD = "seconds", ("source_id", "page", "parser", "seconds")
LAYER = "pypdfium2"


class Times:
    """Collects what readings took, source by source."""

    def __init__(self, outputs: Outputs) -> None:
        index, count = outputs.shard
        file = outputs.folder / FOLDER / f"{index:05d}-of-{count:05d}.csv"
        file.parent.mkdir(exist_ok=True)
        self._outputs = outputs
        self._file = file.open("w", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(HEAD)

    def add(self, source_id: str, layers: Iterable[float], read: Iterable[Page], parser: str = LAYER) -> None:
        """Seconds of each page's first reading, by `parser`, and the pages that were read again."""
        first = ((page, parser, seconds) for page, seconds in enumerate(layers, 1))
        again = ((page.number, page.parser, page.seconds) for page in read if not page.is_lost)
        for page, name, seconds in (*first, *again):
            if seconds:
                self._rows.writerow((source_id, page, name, f"{seconds:.6f}"))
                self._outputs.spent(name, seconds)

    def close(self) -> None:
        """The last line is written."""
        self._file.close()


def rows(output: Path) -> Iterator[tuple[str, int, str, float]]:
    """The lines of all shards of a parse's output."""
    for file in sorted((output / FOLDER).glob("*.csv")):
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield row["source_id"], int(row["page"]), row["parser"], float(row["seconds"])


def forget(output: Path, ids: Collection[str]) -> None:
    """Take the lines of some sources out; nothing where there are none."""
    for file in sorted((output / FOLDER).glob("*.csv")):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.partition(",")[0] not in ids]
        if len(kept) < len(lines):
            write_atomic(file, "".join(kept))
