"""`parsl train-router`: learn where reading a page again pays, from generated pages and from papers with their texts."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stages.base import SettingsError
from stages.parse import Parse

if TYPE_CHECKING:
    from stages.parse.train.fit import Labelled


def train_router(options: argparse.Namespace, console: Console) -> int:
    """Make pages, read them, train, write the weights and the calibration plot; what was read before is kept."""
    engines = Parse().engines()
    if not engines:
        raise SettingsError("train-router needs an OCR engine: install Tesseract, or pip install -e '.[train_router]'")
    try:
        from stages.parse.train.fit import calibration_plot, train
    except ImportError as error:
        raise SettingsError(f"train-router needs {error.name}: pip install -e '.[train_router]'") from error
    rows: list[Labelled] = []
    for row in labelled(options, engines):
        rows.append(row)
        if len(rows) % 20 == 0:
            console.print(f"  {len(rows)} pages")
    model = train(rows, engines)
    model.save(options.out)
    plot = options.out.with_suffix(".png")
    calibration_plot(model, plot)
    console.print(f"router    {options.out} ({options.out.stat().st_size} bytes), calibration {plot}", markup=False)
    return 0


def labelled(options: argparse.Namespace, engines: Sequence[str]) -> Iterator["Labelled"]:
    """Pages that every engine reads, and more of which only the text layer is learned."""
    from stages.parse.train.fit import label
    from stages.parse.train.gold import papers
    from stages.parse.train.pages import generated
    from stages.parse.train.readings import Readings

    folder: Path = options.folder
    readings = Readings(folder / "parse-readings")
    known = generated(folder / "parse-pages", options.pages)
    for page in [*known, *(papers(options.data) if options.data else ())]:
        yield label(page, {e: readings.read(page.path, page.index, e) for e in engines})
    more = generated(folder / "parse-pages", 4 * options.pages, seed=1, pixels=False)
    yield from (label(page, {}) for page in more)
