"""Typeset small PDFs, damage them, and run the parse stage on them."""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pikepdf
import pyarrow.parquet as pq
import pypdfium2
import pytest
import typst

from schemas.corpus import SourceFile
from schemas.table import BlobRef
from stages.command import main
from stages.parse import Parse
from tests.tables import write_table

WORDS = (
    "The thermal conductivity of copper is high because free electrons carry heat through the lattice. Impurities "
    "scatter these electrons, and therefore alloys conduct less than the pure metal. At low temperature the mean free "
    "path grows until it is limited by the size of the crystal. Measurements by the flash method agree with the values "
    "in the literature within three percent. We conclude that the samples were annealed well. "
)


@dataclass
class Parsed:
    """The two tables of a run, and its output folder."""

    folder: Path
    documents: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    by_name: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Index documents by file name."""
        self.by_name = {Path(d["path"]).name: d for d in self.documents}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each file was dropped."""
        return {Path(r["path"]).name: r["reason"] for r in self.dropped}


def typeset(markup: str, *, columns: int = 1, size: str = "10pt") -> bytes:
    """A justified, hyphenated A5 PDF of typst markup."""
    head = f'#set page("a5", margin: 15mm, columns: {columns})\n#set text({size}, lang: "en", hyphenate: true)\n'
    source = (head + "#set par(justify: true, spacing: 1.2em)\n" + markup).encode()
    data: bytes = typst.compile(source, format="pdf", timestamp=0)
    return data


def scan(pdf: bytes, dpi: int = 150) -> bytes:
    """The PDF as pictures of its pages, without text."""
    out = pypdfium2.PdfDocument.new()
    for page in pypdfium2.PdfDocument(pdf):
        image = pypdfium2.PdfImage.new(out)
        image.set_bitmap(page.render(scale=dpi / 72, grayscale=True))
        width, height = page.get_size()
        image.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
        added = out.new_page(width, height)
        added.insert_obj(image)
        added.gen_content()
    file = io.BytesIO()
    out.save(file)
    return file.getvalue()


def rewritten(pdf: bytes, change: Callable[[pikepdf.Pdf], object], **options: Any) -> bytes:
    """The PDF after a change with qpdf."""
    file = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        change(opened)
        opened.save(file, **options)
    return file.getvalue()


def shifted(pdf: bytes, by: int = 1) -> bytes:
    """The PDF with all characters of its ToUnicode maps moved on: it looks right, and its text is nonsense."""
    import re

    def move(opened: pikepdf.Pdf) -> None:
        for item in opened.objects:
            if isinstance(item, pikepdf.Stream) and b"begincmap" in (data := item.read_bytes()):
                moved = re.sub(
                    rb"(<[0-9A-Fa-f]+> )<([0-9A-Fa-f]{4})>(?=\s)",
                    lambda m: m[1] + b"<%04X>" % (int(m[2], 16) + by if int(m[2], 16) > 32 else 32),
                    data,
                )
                item.write(moved)

    return rewritten(pdf, move)


def source(path: Path, media_type: str = "application/pdf", **fields: Any) -> SourceFile:
    """A source row for a file on disk."""
    blob = BlobRef.of(path)
    given = {"licence": None, "title": None, "doi": None, "record": None, "source": "test", **fields}
    return SourceFile(source_id=blob.sha256, path=str(path), media_type=media_type, blob=blob, **given)


def record(text: str) -> SourceFile:
    """A source row for a record."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return SourceFile(
        source_id=digest, path=f"r.jsonl:{digest[:4]}", media_type="application/json", blob=None, record=text,
        source="test", licence=None, title=None, doi=None,
    )  # fmt: skip


def run_parse(base: Path, sources: Sequence[SourceFile], out: str = "out", **settings: object) -> Parsed:
    """Run the stage by its command line on some sources, everything in folders below `base`."""
    table = write_table(base / f"in-{out}", SourceFile, sources, name="sources")
    config = base / f"{out}.json"
    config.write_text(json.dumps(settings))
    folder = base / out
    with pytest.raises(SystemExit) as stopped:
        main(Parse, ["--config", str(config), "--out", str(folder), "--sources", str(table)])
    assert stopped.value.code == 0
    tables = (pq.read_table(folder / t).to_pylist() for t in ("documents", "dropped"))
    return Parsed(folder, *tables)


@pytest.fixture
def parse(tmp_path: Path) -> Callable[..., Parsed]:
    """`run_parse` in the test's own folder."""
    return functools.partial(run_parse, tmp_path)
