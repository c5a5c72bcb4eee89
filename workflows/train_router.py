"""`parsl train-router`: learn where reading a page again pays, from generated pages and from papers with their texts."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from stages.base import SettingsError
from stages.parse import PARSERS, Parse

if TYPE_CHECKING:
    from stages.parse.train.fit import Labelled


def train_router(options: argparse.Namespace, console: Console) -> int:
    """Make pages, read them, train, write the weights and the calibration plot; what was read before is kept."""
    stage = Parse.parse({"price": 0, "parsers": _parsers(options), **_server(options)})
    try:
        from stages.parse.parsers import lacking
        from stages.parse.schedule import reading_options
        from stages.parse.train.fit import calibration_plot, train
    except ImportError as error:
        raise SettingsError(f"train-router needs {error.name}: pip install -e '.[train_router]'") from error
    problems = [*_misplaced(options), *lacking(stage.reader_names(), reading_options(stage).server)]
    if problems:
        raise SettingsError("\n".join(f"train-router: {p}" for p in problems))
    rows: list[Labelled] = []
    for row in labelled(options, stage):
        rows.append(row)
        if len(rows) % 20 == 0:
            console.print(f"  {len(rows)} pages")
    model = train(rows, stage.reader_names())
    model.save(options.out)
    plot = options.out.with_suffix(".png")
    calibration_plot(model, plot)
    words = f"of {', '.join(stage.reader_names())} ({options.out.stat().st_size} bytes), calibration {plot}"
    console.print(f"router    {options.out} {words}", markup=False)
    return 0


def _misplaced(options: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the numbers and folders of the command line."""
    for flag, number in (("--pages", options.pages), ("--per-paper", options.per_paper)):
        if number < 1:
            yield f"{flag} {number}: expected 1 or more"
    if options.data and not (options.data / "manifest.csv").is_file():
        yield f"--data {options.data}: expected a folder with a manifest.csv, as docs/design/009-parse.md says"
    if options.papers and not options.papers.is_dir():
        yield f"--papers {options.papers}: expected a folder of PDFs, found {'a file' if options.papers.exists() else 'nothing'}"
    if not options.out.parent.is_dir():
        yield f"--out {options.out}: there is no folder {options.out.parent}"


def labelled(options: argparse.Namespace, stage: Parse) -> Iterator["Labelled"]:
    """Pages that every parser reads, and more that are read by those only that look at the text layer."""
    from stages.parse.parsers import cost
    from stages.parse.schedule import reading_options
    from stages.parse.train.fit import label
    from stages.parse.train.gold import papers
    from stages.parse.train.own import pictured
    from stages.parse.train.pages import generated
    from stages.parse.train.readings import Readings

    folder: Path = options.folder
    readings = Readings(folder / "parse-readings", reading_options(stage))
    known = [*generated(folder / "parse-pages", options.pages), *(papers(options.data) if options.data else ())]
    if options.papers:
        known += pictured(options.papers, folder / "parse-own-pages", options.per_paper)
    for page in known:
        yield label(page, {p: readings.read(page.path, page.index, p) for p in stage.reader_names()})
    of_layer = [p for p in stage.reader_names() if cost(p) == "text"]
    for page in generated(folder / "parse-pages", 4 * options.pages, seed=1, pixels=False):
        yield label(page, {p: readings.read(page.path, page.index, p) for p in of_layer})


def _parsers(options: argparse.Namespace) -> list[str]:
    """The parsers that are named, or all that are installed, and a server's model where one is given."""
    if options.parsers:
        return list(options.parsers)
    from stages.parse.parsers import lacking

    here = [name for name in PARSERS if name != "served" and not lacking([name], None)]
    return here + ["served"] * bool(options.served_url)


def _server(options: argparse.Namespace) -> dict[str, str]:
    return {k: getattr(options, k) for k in ("served_url", "served_model") if getattr(options, k)}
