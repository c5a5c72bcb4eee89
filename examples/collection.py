"""A corpus on disk: the files, and in a folder beside it their true texts, the manifest and the facts.

One process makes all of it: 100 documents take 9 seconds, and nothing is left running when it is killed. See `marker` for how a folder says that it is complete.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pypdfium2

from examples import damage, formats
from examples.document import plain_text
from examples.marker import claim, mark, truth_folder
from examples.plan import Entry, Plan, make_plan
from examples.typeset import pdf_of

PDF_KINDS = {
    "born-digital",
    "near-duplicate",
    "exact-duplicate",
    "other-language",
    "refused-licence",
    "too-short",
    "member",
}

Report = Callable[[str], None]


def make(folder: Path, num_articles: int, seed: int, report: Report) -> dict[str, int]:
    """Make the corpus and its truth; returns how many documents there are of each kind.

    Raises `CorpusError` if the count is wrong, or the folder has files that this command did not make.
    """
    plan = make_plan(num_articles, seed)
    claim(folder, sorted(_files_of(plan)), num_articles, seed)
    rows, sizes = [], {}
    for done, entry in enumerate(plan.entries, 1):
        row, files = _make_entry(plan, folder, entry)
        rows.append(row)
        sizes.update(files)
        if done % 20 == 0:
            report(f"{done} of {len(plan.entries)} documents")
    sizes.update(_write_all(folder, _containers(plan)))
    truth = truth_folder(folder)
    _write_lines(truth / "manifest.jsonl", rows)
    _write_lines(truth / "facts.jsonl", _facts(plan))
    mark(folder, sizes, num_articles, seed, complete=True)
    kinds = [str(row["kind"]) for row in rows]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def _files_of(plan: Plan) -> Iterator[str]:
    """Every file that the plan puts into the folder."""
    for entry in plan.entries:
        if entry.kind in {"record", "member"}:
            yield entry.path.rpartition(":")[0] or entry.path.partition("/")[0]
        else:
            yield entry.path
            if entry.kind not in {"bad", "jats"}:
                yield _sidecar_path(entry)


def _sidecar_path(entry: Entry) -> str:
    return entry.path.rpartition(".")[0] + ".meta.json"


def _make_entry(plan: Plan, folder: Path, entry: Entry) -> tuple[dict[str, Any], dict[str, int]]:
    """Write an entry's files and its true text; returns its row of the manifest and its files' sizes."""
    files = dict(entry_files(plan, entry))
    row: dict[str, Any] = {"stem": entry.stem, **asdict(entry), "title": "", "words": 0}
    row["subject"] = "" if entry.kind == "bad" else plan.subjects[entry.subject].name
    row["pages"] = num_pages(files.get(entry.path, b""))
    if entry.kind != "bad":
        article = plan.article(entry)
        text = plain_text(article)
        (truth_folder(folder) / f"{entry.stem}.txt").write_text(text)
        row.update(title=article.title, words=len(text.split()))
    stored = {name: data for name, data in files.items() if entry.kind not in {"record", "member"}}
    return row, _write_all(folder, stored)


def entry_files(plan: Plan, entry: Entry) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of an entry's files; of a member those that go into the archive, of a record none."""
    if entry.kind == "bad":
        good = next(e for e in plan.entries if e.kind == "born-digital")
        yield entry.path, damage.bad_files(pdf_of(plan.article(good), "one-column"))[f"{entry.detail}.pdf"]
        return
    article = plan.article(entry)
    if entry.kind == "jats":
        yield entry.path, formats.jats(article).encode()
        return
    if entry.kind == "record":
        return
    text = {"markdown": formats.markdown, "text": plain_text}.get(entry.kind)
    yield entry.path, text(article).encode() if text else _pdf(plan, entry)
    yield _sidecar_path(entry), formats.sidecar(article)


def _pdf(plan: Plan, entry: Entry) -> bytes:
    """The PDF of an entry, damaged if it is to be."""
    assert entry.layout
    pdf = pdf_of(plan.article(entry), entry.layout)
    if entry.kind == "scanned":
        return damage.scanned(pdf, plan.seed * 1000 + entry.subject)
    if entry.kind == "broken-layer":
        lie = next(lie for lie in damage.LIES if lie == entry.detail)
        return damage.broken_layer(pdf, lie, plan.seed * 1000 + entry.subject)
    assert entry.kind in PDF_KINDS
    return pdf


def num_pages(data: bytes) -> int:
    """Pages of a PDF, 0 of what is none or cannot be opened."""
    try:
        with pypdfium2.PdfDocument(data) as document:
            return len(document)
    except pypdfium2.PdfiumError:
        return 0


def _containers(plan: Plan) -> dict[str, bytes]:
    """The archive and the file of records."""
    members = [e for e in plan.entries if e.kind == "member"]
    inside = {name.partition("/")[2]: data for entry in members for name, data in entry_files(plan, entry)}
    records = [plan.article(e) for e in plan.entries if e.kind == "record"]
    return {"bundle.zip": formats.zip_archive(inside), "records.jsonl.gz": formats.json_lines(records)}


def _write_all(folder: Path, files: Mapping[str, bytes]) -> dict[str, int]:
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return {name: len(data) for name, data in files.items()}


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _facts(plan: Plan) -> list[dict[str, Any]]:
    """Every fact of every subject, in the words in which the articles state it."""
    return [
        {"subject": s.name, "kind": s.kind.noun, "property": f.prop, "value": f.value, "unit": f.unit}
        for s in plan.subjects
        for f in s.facts
    ]
