"""The search: candidates by compiled code, a batch of documents at a time, decided one by one, and taken out."""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.corpus import Document
from schemas.evaluation import BenchmarkItem, ItemOverlap
from schemas.table import ContractError
from stages.base import SettingsError, num_workers
from stages.decontaminate import Decontaminate
from stages.decontaminate.cut import cut
from stages.decontaminate.decide import Cosine, Judge, Verdict
from stages.decontaminate.needles import MIN_GRAMS, index, needle
from stages.decontaminate.plant import plant
from stages.decontaminate.windows import RUN_WORDS, windows
from stages.embed import Embed
from stages.tables import Outputs, Reader

BATCH_ROWS = 64  # documents searched at a time by one thread
PLANTED_ROWS = 256  # documents that items are planted in
END_OF_SENTENCE = re.compile(r"[.?!:]\s|\n")


class Found(NamedTuple):
    """Item `number` in row `row` of a batch, in characters `start:end`."""

    row: int
    number: int
    start: int
    end: int
    verdict: Verdict


class Search:
    """Finds items in texts."""

    def __init__(self, stage: Decontaminate, items: list[BenchmarkItem]) -> None:
        self.items = items
        self.needles = [needle(item) for item in items]
        self.index = index(self.needles)
        self.judge = Judge(items, stage.min_letters, stage.min_cosine, _cosine(stage))
        self.unfit = np.flatnonzero(self.index.counts < MIN_GRAMS)

    def all_in(self, text: str) -> list[Found]:
        """All copies of all items in one text: what is found is blanked and the rest searched again, until it is clean."""
        found: list[Found] = []
        while more := self(pa.array([text])):
            found += more
            for start, end in ((f.start, f.end) for f in more):
                text = text[:start] + " " * (end - start) + text[end:]
        return found

    def __call__(self, texts: pa.Array) -> list[Found]:
        """The items in an Arrow array of texts, by row and item: of an item that a text has twice, the better copy."""
        found, at, data = [], -1, b""
        for row, number, start, end, first, last, run, _ in zip(*windows(texts, self.index), strict=True):
            if self.index.counts[number] < MIN_GRAMS:
                continue
            if row != at:
                at, data = row, texts[int(row)].as_py().encode()
            verdict = self.judge(int(number), data[start:end].decode(), run >= RUN_WORDS)
            if verdict:
                places = _sentences(data, (int(start), int(first), int(last), int(end)))
                found.append(Found(int(row), int(number), *places, verdict))
        return found


def decontaminate(stage: Decontaminate, documents: Reader, items: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Decontaminate`."""
    search = Search(stage, list(items.rows()))
    outputs.progress.start("documents", documents.num_rows)
    if not search.items:
        for batch in documents.batches():
            outputs["documents"].write(batch)
        return
    _say_unfit(search)
    _self_test(stage, search, documents, outputs)
    for batch, found in _searched(search, documents):
        _write(stage, search, batch, found, outputs)
        outputs.progress.advance(batch.num_rows)


def _say_unfit(search: Search) -> None:
    if len(search.unfit):
        some = ", ".join(f"{search.items[i].benchmark} {search.items[i].item_id}" for i in search.unfit[:5])
        print(f"{len(search.unfit)} of {len(search.items)} items are too short to look for: {some} ...", flush=True)


def _self_test(stage: Decontaminate, search: Search, documents: Reader, outputs: Outputs) -> None:
    hosts = [t for b in _first(documents, PLANTED_ROWS) for t in b["text"].to_pylist()]
    fit = [i for i in range(len(search.items)) if search.index.counts[i] >= MIN_GRAMS]
    if not hosts or not fit:
        return

    def numbers(texts: pa.Array) -> list[tuple[int, int]]:
        return [(f.row, f.number) for f in search(texts)]

    rows = plant(search.needles, hosts, stage.seed, numbers, fit)
    outputs["planted"].write(rows)
    missed = [
        f"{r.damage}: {r.num_found} of {r.num_planted} planted items found, {r.required:.0%} are required"
        for r in rows
        if r.num_found < r.required * r.num_planted
    ]
    for row in rows:
        print(f"self-test, {row.damage}: {row.num_found} of {row.num_planted} planted items found", flush=True)
    if missed:
        cure = f"take a lower decontaminate.min_letters (now {stage.min_letters}), or leave out the shortest items"
        raise ContractError("the self-test of decontaminate", [*missed, cure])


def _first(documents: Reader, count: int) -> Iterator[pa.RecordBatch]:
    for batch in documents.batches(["text"], batch_rows=count):
        yield batch
        return


def _searched(search: Search, documents: Reader) -> Iterator[tuple[pa.RecordBatch, list[Found]]]:
    """Batches in order with what is in them, `num_workers` of them searched at a time."""
    with ThreadPoolExecutor(num_workers()) as pool:
        waiting: list[tuple[pa.RecordBatch, Any]] = []
        for batch in documents.batches(batch_rows=BATCH_ROWS):
            waiting.append((batch, pool.submit(search, batch["text"])))
            if len(waiting) > num_workers():
                done, future = waiting.pop(0)
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _write(stage: Decontaminate, search: Search, batch: pa.RecordBatch, found: list[Found], outputs: Outputs) -> None:
    by_row: dict[int, list[Found]] = {}
    for hit in found:
        by_row.setdefault(hit.row, []).append(hit)
    if stage.remove == "span":
        by_row = {row: search.all_in(batch["text"][row].as_py()) for row in by_row}
    ids, paths = batch["doc_id"].to_pylist(), batch["path"].to_pylist()
    for row, hits in by_row.items():
        outputs["overlaps"].write(_overlap(search, ids[row], hit) for hit in hits)
    if not by_row or stage.remove == "nothing":
        outputs["documents"].write(batch)
        return
    for row in range(batch.num_rows):
        hits = by_row.get(row, [])
        if not hits:
            outputs["documents"].write(batch.slice(row, 1))
            continue
        names = _names(search, hits)
        rest = (
            cut(batch.slice(row, 1).to_pylist()[0], [(h.start, h.end) for h in hits])
            if stage.remove == "span"
            else None
        )
        if rest is None:
            outputs.drop(ids[row], "benchmark item", names, paths[row])
        else:
            outputs["documents"].write(Document.model_validate(rest))


def _overlap(search: Search, doc_id: str, hit: Found) -> ItemOverlap:
    item = search.items[hit.number]
    tier, score = hit.verdict
    return ItemOverlap(
        benchmark=item.benchmark,
        item_id=item.item_id,
        doc_id=doc_id,
        tier=tier,
        score=score,
        start=hit.start,
        end=hit.end,
    )


def _names(search: Search, hits: Iterable[Found]) -> str:
    named = [f"{search.items[h.number].benchmark} {search.items[h.number].item_id} ({h.verdict.tier})" for h in hits]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def _sentences(data: bytes, places: tuple[int, int, int, int]) -> tuple[int, int]:
    """From the first to the last trigram, widened to whole sentences within the stretch; bytes in, characters out."""
    start, first, last, end = places
    before = data[start:first].decode()
    breaks = [m.end() for m in END_OF_SENTENCE.finditer(before)]
    after = END_OF_SENTENCE.search(data[last:end].decode() + "\n")
    offset = len(data[:start].decode())
    begin = offset + (breaks[-1] if breaks else len(before))
    stop = len(data[:last].decode()) + (after.start() + 1 if after else 0)
    return begin, min(stop, len(data[:end].decode()))


def _cosine(stage: Decontaminate) -> Cosine | None:
    if not stage.embeddings:
        return None
    if missing := [p for p in Embed.packages if importlib.util.find_spec(p) is None]:
        cure = "pip install -e '.[embed]'"
        raise SettingsError(
            f"decontaminate.embeddings needs {len(missing)} more package(s), {', '.join(missing)}: {cure}"
        )
    from stages.embed.sentence import SentenceModel

    return SentenceModel(stage.embeddings, "decontaminate.embeddings").cosine
