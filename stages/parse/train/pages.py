"""Generated pages on disk: one PDF a page with its truth, its family of layouts and what happened to it.

Page `n` of a seed is the same whatever the count, so that a longer set goes on from a shorter one.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.parse.train import typeset, wear

VERSION = 2  # of what is drawn: goes up when the same number gives another page


@dataclass(frozen=True)
class Known:
    """A page whose text is known. `group` is what a split must not divide: a family of layouts, or a paper."""

    path: Path
    index: int
    truth: str
    group: str
    kind: str


def generated(folder: Path, count: int, seed: int = 0, *, pixels: bool = True) -> Iterator[Known]:
    """Pages 0 to `count` of a seed; those that `folder` has already are not made again. See `wear` for `pixels`."""
    for number in range(count):
        file = folder / f"{seed}-{number:05d}-v{VERSION}{'' if pixels else '-grey'}.pdf"
        yield kept(file, lambda n=number, f=file: _made(f, n, seed, pixels=pixels))  # type: ignore[misc]


def kept(file: Path, make: Callable[[], tuple[Known, bytes]]) -> Known:
    """A page that is on disk, with what is known of it beside it; it is made now if it is not."""
    facts = file.with_suffix(".json")
    if not facts.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        known, data = make()
        file.write_bytes(data)
        facts.write_text(json.dumps(asdict(known) | {"path": file.name}, ensure_ascii=False))
    return Known(**(json.loads(facts.read_text()) | {"path": file}))


def _made(file: Path, number: int, seed: int, *, pixels: bool) -> tuple[Known, bytes]:
    rng = random.Random(f"{seed}/{number}")
    families = list(typeset.FAMILIES)
    family, kind = families[number % len(families)], wear.draw(rng)
    data, truth = typeset.page(family, f"{seed}/{number}")
    return Known(file, 0, "" if kind == "photo" else truth, family, kind), wear.wear(data, kind, rng, pixels=pixels)
