"""Parquet to `.bin/.idx`: the stage as a user runs it against Megatron's way, and its encoder against the same one bare.

The text is the 1,500 articles of `../shared/data/corpora` (63 MB). At ten times the size each further copy has its digits
drawn anew and one letter in 500 changed, so that numbers and one word in a hundred are new: a cache of words helps as it
does with text that goes on, not with text that is repeated. Both sides are processes of their own, timed from their start
to their end, with two workers: the stage reads a Parquet table of documents, Megatron's way lines of JSON.
The two pairs of files are compared byte for byte before any time is told.
"""

import gzip
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gigatoken
import numpy as np
import pyarrow as pa

from benchmarks.megatron_encode import WORKERS
from benchmarks.table import Comparison, Options, main, seconds
from schemas.corpus import Document
from schemas.manifest import Manifest, Shard
from schemas.tokens import SplitRule, Tokenizer
from stages.base import PACKAGE_ROOT
from stages.stream import vocabulary
from stages.tables import Outputs, Reader
from stages.tokenize.encode import read_pieces
from stages.tokenize.encoders import awkward_strings, choose, without_special_tokens

DATA = PACKAGE_ROOT.parent / "shared" / "data"
EOD = "<|endoftext|>"
PEER = "Megatron's way, 2 workers"
COPIES = 10
REPETITIONS = 3
PER_LETTER = 500


class Texts(NamedTuple):
    """A corpus in the two forms that the two sides read."""

    documents: Path
    lines: Path
    num_bytes: int


class Trained(NamedTuple):
    """The output of train_tokenizer."""

    folder: Path

    @property
    def row(self) -> Tokenizer:
        """What it says of its tokenizer."""
        (row,) = Reader(self.folder / "tokenizer", Tokenizer).rows()
        return row

    @property
    def file(self) -> Path:
        """The tokenizer.json."""
        return self.row.file.open_path(self.folder)


def articles(corpora: Path, step: int) -> list[str]:
    """The texts of the shared corpora; every `step`-th."""
    found = []
    for file in ("pmc-ccby-260.jsonl.gz", "pmc-ccby-1240-more.jsonl.gz"):
        with gzip.open(corpora / file, "rt", encoding="utf-8") as lines:
            found += [json.loads(line)["text"] for line in lines]
    return found[::step]


def perturbed(text: str, seed: int) -> str:
    """The text with its digits drawn anew and one letter in `PER_LETTER` changed; as it is for the seed 0."""
    if seed == 0:
        return text
    random, data = np.random.default_rng(seed), np.frombuffer(text.encode(), np.uint8).copy()
    digits = (data >= ord("0")) & (data <= ord("9"))
    data[digits] = random.integers(ord("0"), ord("9") + 1, int(digits.sum()))
    letters = np.flatnonzero((data >= ord("a")) & (data <= ord("z")))
    changed = random.choice(letters, len(letters) // PER_LETTER)
    data[changed] = random.integers(ord("a"), ord("z") + 1, len(changed))
    return data.tobytes().decode()


def write(folder: Path, texts: list[str], copies: int) -> Texts:
    """Write a corpus as a table of documents and as lines of JSON."""
    outputs = Outputs(folder, {"documents": Document}, (0, 1))
    lines, num_bytes = folder / "documents.jsonl", 0
    with lines.open("w", encoding="utf-8") as stream:
        for copy in range(copies):
            for number, text in enumerate(texts):
                changed = perturbed(text, copy * len(texts) + number if copy else 0)
                outputs["documents"].write(_document(copy * len(texts) + number, changed))
                stream.write(json.dumps({"text": changed}) + "\n")
                num_bytes += len(changed.encode())
    _finish(folder, outputs)
    return Texts(folder / "documents", lines, num_bytes)


def _document(number: int, text: str) -> Document:
    fields = {"pages": [], "media_type": "text/plain", "path": f"{number}.txt", "source": "pmc"}
    unknown = dict.fromkeys(("licence", "title", "doi", "language"))
    return Document.model_validate({"doc_id": f"{number:064x}", "text": text, **fields, **unknown})


def _finish(folder: Path, outputs: Outputs) -> None:
    tables = outputs.close()
    nothing: dict[str, Any] = dict.fromkeys(("external", "code_sha256", "git_commit"), "")
    nothing |= {name: {} for name in ("settings", "inputs", "dropped", "packages")}
    done = Shard(index=0, count=1, outputs=tables, dropped={}, started="", seconds=0, peak_memory_bytes=0, host="")
    Manifest(stage="benchmark", version=1, fingerprint="0" * 16, outputs=tables, shards=(done,), **nothing).write(
        folder
    )


def stage(name: str, out: Path, settings: dict[str, Any], **inputs: Path) -> None:
    """Run a stage by its command, with two workers, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "settings.json").write_text(json.dumps(settings))
    tables = [word for key, table in inputs.items() for word in (f"--{key}", str(table))]
    command = [sys.executable, "-m", f"stages.{name}", "--config", str(out / "settings.json"), "--out", str(out)]
    environment = os.environ | {"BOREALIS_WORKERS": str(WORKERS), "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run([*command, *tables], check=True, env=environment, cwd=PACKAGE_ROOT, stderr=subprocess.DEVNULL)


def ours(texts: Texts, trained: Trained, out: Path) -> None:
    """The stage, with what `auto` takes."""
    folder = trained.folder
    stage("tokenize", out, {}, documents=texts.documents, tokenizer=folder / "tokenizer", split=folder / "split")


def theirs(texts: Texts, trained: Trained, out: Path) -> None:
    """Megatron's way."""
    out.mkdir(parents=True, exist_ok=True)
    arguments = [str(texts.lines), str(trained.file), EOD, str(out / "theirs"), str(trained.row.vocab_size)]
    command = [sys.executable, "-m", "benchmarks.megatron_encode", *arguments]
    subprocess.run(command, check=True, cwd=PACKAGE_ROOT)


def equal(mine: Path, other: Path) -> bool:
    """Whether the pairs of files are the same bytes."""
    pairs = [(next(mine.glob(f"tokens/*/*.{kind}")), other / f"theirs.{kind}") for kind in ("bin", "idx")]
    return all(a.read_bytes() == b.read_bytes() for a, b in pairs)


def trained(folder: Path, texts: Texts, **settings: Any) -> Trained:
    """A tokenizer by the stage that makes or takes one; nothing is held out, so that there is one file to compare."""
    fixed = {"validation_fraction": 0.0, "fertility_bytes": 0}
    stage("train_tokenizer", folder, settings | fixed, documents=texts.documents)
    return Trained(folder)


def gpt2(folder: Path, source: Path) -> Path:
    """GPT-2's tokenizer.json, of the two files in which it was published."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers

    vocab = json.loads((source / "encoder.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split()) for line in (source / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = Library(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([EOD])
    tokenizer.save(str(folder / "gpt2.json"))
    return folder / "gpt2.json"


class Cost(NamedTuple):
    """What a process took: seconds from start to end, and of processor time."""

    wall: float
    cpu: float


def cost(work: Callable[[], object]) -> Cost:
    """What the processes that `work` starts and waits for take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(work)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def whole(name: str, texts: Texts, tokenizer: Trained, work: Path, repetitions: int) -> Iterator[Comparison]:
    """The two as processes, in turn; the medians of wall clock and of processor time, and of text a second."""
    mine, other = work / "ours", work / "theirs"
    pairs = [
        (cost(partial(ours, texts, tokenizer, mine)), cost(partial(theirs, texts, tokenizer, other)))
        for _ in range(repetitions)
    ]
    a, b = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
    same, megabytes = equal(mine, other), texts.num_bytes / 1e6
    what = f"{name}: Parquet to .bin/.idx, {megabytes:.0f} MB"
    yield Comparison(what, PEER, a.wall, b.wall, "s", b.wall / a.wall, same)
    yield Comparison(what, PEER, megabytes / a.wall, megabytes / b.wall, "MB/s", b.wall / a.wall, same)
    yield Comparison(f"{what}, processor time", PEER, a.cpu, b.cpu, "s", b.cpu / a.cpu, same)


def further(name: str, small: Comparison, large: Comparison) -> Comparison:
    """What each copy after the first costs: all but starting and stopping."""
    mine, other = (large.ours - small.ours) / (COPIES - 1), (large.theirs - small.theirs) / (COPIES - 1)
    return Comparison(f"{name}: each further copy of the text", PEER, mine, other, "s", other / mine, large.equal)


def alone(name: str, texts: Texts, file: Path, repetitions: int) -> Iterator[Comparison]:
    """The encoder as the stage calls it, piece by piece, against the library called once on all of the text."""
    tokenizer, rule = vocabulary.load(file), SplitRule(seed=0, validation_fraction=0.1, below=0.1)
    pieces = [piece.texts() for piece in read_pieces(Reader(texts.documents, Document), rule)]
    everything = awkward_strings(pa.concat_arrays(pieces))
    name = f"{name}: encode, {texts.num_bytes / 1e6:.0f} MB"
    times: dict[str, list[tuple[float, float]]] = {"a new encoder": [], "a used encoder": []}
    for _ in range(repetitions):
        encoder = choose(tokenizer, file, "gigatoken")
        library = gigatoken.Tokenizer.from_json(without_special_tokens(file))
        for found in times.values():
            mine = seconds(lambda e=encoder: [e.encode(piece) for piece in pieces])
            found.append((mine, seconds(lambda e=library: e.encode_batch(everything))))
    same = np.array_equal(
        np.concatenate([encoder.encode(piece).ids for piece in pieces]),
        np.asarray(library.encode_batch(everything).layout.content.data),
    )
    for what, found in times.items():
        a, b = (statistics.median(side) for side in zip(*found, strict=True))
        yield Comparison(f"{name}, {what}", "gigatoken, bare", a, b, "s", b / a, same)


def memory(outs: tuple[Path, Path], copies: int) -> Comparison:
    """The stage's largest resident size on more text against that on less; the ratio is what grew."""
    small, large = (Manifest.read(out).peak_memory_bytes / 1e6 for out in outs)
    what = f"peak memory of the stage, {copies} times the text"
    return Comparison(what, "itself, once the text", large, small, "MB", small / large, None)


def run(options: Options) -> Iterator[Comparison]:
    """All comparisons, for GPT-2's tokenizer and for one of 32,000 tokens that is trained on the text."""
    data = options.data or DATA
    os.environ["BOREALIS_WORKERS"] = str(WORKERS)
    texts, repetitions = articles(data / "corpora", 25 if options.quick else 1), 1 if options.quick else REPETITIONS
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        once, more = write(work / "1", texts, 1), write(work / "10", texts, COPIES)
        given = gpt2(work, data / "tokenizers" / "gpt2")
        tokenizers = {"GPT-2": {"tokenizer": str(given)}, "32k": {"vocab_size": 32_000}}
        made = {name: trained(work / name, once, **settings) for name, settings in tokenizers.items()}
        for name, tokenizer in made.items():
            small = list(whole(name, once, tokenizer, work / f"{name}-1", repetitions))
            yield from small
            large = list(whole(name, more, tokenizer, work / f"{name}-10", 1))
            yield from large
            yield further(name, small[0], large[0])
            yield memory((work / f"{name}-1" / "ours", work / f"{name}-10" / "ours"), COPIES)
        for name, tokenizer in made.items():  # last: a process that starts others lends them its own peak of memory
            yield from alone(name, once, tokenizer.file, repetitions)


if __name__ == "__main__":
    main("encode", run)
