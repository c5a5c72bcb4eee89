"""Documents to encode, a tokenizer trained on them, and the tables that the stage reads."""

import hashlib
import importlib
import json
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Reference

from schemas.corpus import Document
from schemas.table import BlobRef
from schemas.tokens import SplitRule, Tokenizer
from stages.command import main
from stages.stream.vocabulary import SPECIAL_TOKENS
from stages.tokenize import Tokenize
from tests.tables import write_table

GPT2 = Path(__file__).parents[4] / "shared" / "data" / "tokenizers" / "gpt2"
SUBJECTS = ["The sample", "A crystal", "Each of the 24 alloys", "This oxide", "Our β-phase film", "The enzyme"]
VERBS = ["was heated to", "was measured at", "changes its colour near", "stays stable below", "reacts above"]
ENDINGS = ["in air.", "under argon (99.9 %).", "as Fig. 3 shows.", "for two days.", "and then cooled.", "…"]
WORDS = (  # Qwen 2's pattern: digits apart, indentation apart
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Inputs(NamedTuple):
    """The three tables that the stage reads."""

    documents: Path
    tokenizer: Path
    split: Path

    def flags(self, out: Path, **settings: Any) -> list[str]:
        """The command line that reads them and writes to `out`."""
        out.mkdir(exist_ok=True)
        (out / "settings.json").write_text(json.dumps(settings))
        tables = [word for name, table in self._asdict().items() for word in (f"--{name}", str(table))]
        return [*tables, "--out", str(out), "--config", str(out / "settings.json")]

    def run(self, out: Path, *flags: str, **settings: Any) -> int:
        """Run the stage by its command line, in this process; returns the exit code."""
        with pytest.raises(SystemExit) as exit_:
            main(Tokenize, [*self.flags(out, **settings), *flags])
        return int(str(exit_.value.code))


Maker = Callable[..., Inputs]


def article(seed: int, num_sentences: int = 30) -> str:
    """Make a text of sentences like those of papers, with numbers, Greek and paragraphs."""
    draw = random.Random(seed)
    sentences = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.randint(77, 1400)} K {draw.choice(ENDINGS)}"
        for _ in range(num_sentences)
    ]
    return " ".join(s + ("\n\n" if draw.random() < 0.1 else "") for s in sentences)


def doc_id(number: int) -> str:
    """Name a document."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def write_documents(folder: Path, texts: Sequence[str], sources: Sequence[str] = ("test",)) -> Path:
    """Write documents of these texts as an input table, of the sources in turn; every other one has a licence."""
    rows = [
        Document(
            doc_id=doc_id(number),
            text=text,
            pages=[],
            media_type="text/plain",
            path=f"{number}.txt",
            source=sources[number % len(sources)],
            licence="CC-BY-4.0" if number % 2 else None,
            title=None,
            doi=None,
            language="en",
        )
        for number, text in enumerate(texts)
    ]
    return write_table(folder, Document, rows, name="documents")


def write_tokenizer(folder: Path, file: Path, eod_token: str = SPECIAL_TOKENS[0], **changes: Any) -> Path:
    """Write the row of a tokenizer.json, true unless changed."""
    loaded = Reference.from_file(str(file))
    fields = {"vocab_size": max(loaded.get_vocab().values()) + 1, "eod_id": loaded.token_to_id(eod_token)}
    row = Tokenizer(file=BlobRef.of(file, folder), eod_token=eod_token, **fields | changes)
    return write_table(folder, Tokenizer, [row], name="tokenizer")


def write_split(folder: Path, below: float = 0.25) -> Path:
    """Write the rule by which about this share of documents is held out."""
    return write_table(folder, SplitRule, [SplitRule(seed=1, validation_fraction=below, below=below)], name="split")


def trained(texts: Sequence[str], file: Path, vocab_size: int = 500) -> Path:
    """Train a small byte-level BPE by the library itself."""
    tokenizer = Reference(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(file))
    return file


@pytest.fixture(scope="session")
def articles() -> list[str]:
    """40 texts of about 1,700 characters."""
    return [article(seed) for seed in range(40)]


@pytest.fixture(scope="session")
def small(articles: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 500 ids."""
    return trained(articles, tmp_path_factory.mktemp("small") / "tokenizer.json")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's tokenizer, from the files in which it was published."""
    if not GPT2.exists():
        pytest.skip("GPT-2's vocabulary is not on this machine")
    vocab = json.loads((GPT2 / "encoder.json").read_text())
    merges = [tuple(line.split()) for line in (GPT2 / "vocab.bpe").read_text().splitlines()[1:]]
    tokenizer = Reference(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    file = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


@pytest.fixture
def make_inputs(tmp_path: Path, small: Path) -> Maker:
    """Write texts, and what else the stage reads, as this test's input tables."""

    def make(texts: Sequence[str], sources: Sequence[str] = ("test",), below: float = 0.25, **tokenizer: Any) -> Inputs:
        return Inputs(
            write_documents(tmp_path / "input", texts, sources),
            write_tokenizer(tmp_path / "tokenizer", **{"file": small} | tokenizer),
            write_split(tmp_path / "split", below),
        )

    return make


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory, articles: list[str], small: Path) -> Inputs:
    """Write 640 documents of about 1,700 characters, of three sources."""
    draw = random.Random(0)
    texts = ["\n".join(draw.sample(draw.choice(articles).split("."), 25)) for _ in range(640)]
    folder = tmp_path_factory.mktemp("many")
    documents = write_documents(folder / "input", texts, ["papers", "records", "Notes / 2024"])
    return Inputs(documents, write_tokenizer(folder / "tokenizer", small), write_split(folder / "split"))


@pytest.fixture(scope="session")
def megatron() -> ModuleType:
    """Import Megatron's own reader and writer of token files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that Apex and Transformer Engine are not installed
        return importlib.import_module("megatron.core.datasets.indexed_dataset")
