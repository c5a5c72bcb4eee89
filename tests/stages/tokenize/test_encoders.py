"""Encoders: whichever is taken, the ids are those of Hugging Face `tokenizers` with text as text."""

import csv
import functools
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Peer

from stages.base import SettingsError
from stages.stream import vocabulary
from stages.tokenize import encoders
from stages.tokenize.encoders import FAST, Encoded, Encoder, Gigatoken, Reference, choose, resident_bytes
from stages.tokenize.probe import HARD_TEXTS
from stages.train_tokenizer import bpe, patterns

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"
LITERALS = ["<|endoftext|>", "<|user|>", "<|fim_middle|>", "<|endoftext", "|>", "<|", "<|endoftext|>>", "<<|user|>"]
ADVERSARIAL = [
    *HARD_TEXTS,
    "".join(map(chr, range(0x20))),
    "".join(map(chr, range(0x7F, 0xA1))),
    "".join(map(chr, range(0x2000, 0x2070))),
    b"\xed\xa0\x80 \xff\xfe cut \xe2\x82".decode(errors="replace"),
    "\ufffd" * 500,
    "a\x00b\x00\x00c",
    "o\u0302\u0323\u0301" * 200,
    "0123456789" * 300,
    "3.14159e-10, 1,000,000; 0x7F; ١٢٣; ½; ²",
    "\r\n\r\n \r\n\t\r \n\r" * 50,
    "👩🏽\u200d🚀🏴\U000e0067\U000e0062\U000e007f\ufe0f\u200d" * 40,
    "שָׁלוֹם \u200f\u202bعَرَبِيّ\u202c \u2067abc\u2069 " * 40,
    "don't DON'T it'S we'LL 's 'S ''s I’m x'd'd",
    "\u017fs 'ſ 'K \u0130 İi ǅ ß ﬃ",
    "\u2028\u2029\u0085\u00a0\u1680\u180e\u200b\u3000 x",
    "\U0010ffff\ue000\U000f0000 \ufdd0",
    " ".join("a" * n for n in range(200)),
    *(a + b for a, b in itertools.product(LITERALS, repeat=2)),
]


def arrow(texts: list[str]) -> pa.StringArray:
    """Texts as the stage hands them over."""
    return pa.array(texts, pa.string())


@functools.cache
def peer(file: Path) -> Peer:
    """The library itself, loaded by nothing of ours."""
    tokenizer = Peer.from_file(str(file))
    tokenizer.encode_special_tokens = True
    return tokenizer


def peer_ids(file: Path, texts: list[str]) -> list[list[int]]:
    """The ids by the library itself, one text at a time."""
    return [peer(file).encode(text, add_special_tokens=False).ids for text in texts]


def split(encoded: Encoded) -> list[list[int]]:
    """Ids text by text."""
    parts = np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])
    return [part.tolist() for part in parts] if len(encoded.lengths) else []


@pytest.fixture(scope="module", params=["gigatoken", "fastokens"])
def name(request: pytest.FixtureRequest) -> str:
    """Each of the fast libraries."""
    return str(request.param)


@pytest.fixture(scope="module", params=["small", "gpt2"])
def file(request: pytest.FixtureRequest) -> Path:
    """A tokenizer trained here, and GPT-2's."""
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def encoder(name: str, file: Path) -> Encoder:
    """A fast encoder of each tokenizer."""
    return choose(vocabulary.load(file), file, name)


def test_hard_texts(encoder: Encoder, file: Path) -> None:
    """Control characters, marks, digits, line ends, emoji, right-to-left, halves of special tokens: the ids are equal."""
    assert split(encoder.encode(arrow(ADVERSARIAL))) == peer_ids(file, ADVERSARIAL)


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.text() | st.sampled_from(ADVERSARIAL) | st.text(" \n\r\t'aA1é中\u0301<|>endoftext"), max_size=8)
)
def test_any_texts(encoder: Encoder, file: Path, texts: list[str]) -> None:
    """Any texts, also none and empty ones, give the ids of the reference, text by text."""
    assert split(encoder.encode(arrow(texts))) == peer_ids(file, texts)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(encoder: Encoder, file: Path, data: bytes) -> None:
    """Bytes that are not UTF-8, replaced as every reader of text does, give the ids of the reference."""
    text = data.decode(errors="replace")
    assert split(encoder.encode(arrow([text]))) == peer_ids(file, [text])


@pytest.mark.parametrize("unit", ["x", "ACGT", "\u00e9", "中", "9", " ", "\n", "=", "\u0301", "Ab1-"])
def test_a_word_of_a_million_characters(encoder: Encoder, file: Path, unit: str) -> None:
    """A text of 1 MB without a place to cut is encoded, as the reference does it."""
    text = (unit * 1_000_000)[: 1_000_000 // len(unit.encode())]
    assert split(encoder.encode(arrow([text, "end"]))) == peer_ids(file, [text, "end"])


def test_slices_of_a_column(encoder: Encoder) -> None:
    """A part of an Arrow column, or rows taken from it, is encoded as a column of its own."""
    column = arrow(ADVERSARIAL)
    for part in (column.slice(5, 7), column.slice(len(column) - 1), column.take(pa.array([9, 0, 3])), column[:0]):
        assert encoder.encode(part).same(encoder.encode(arrow(part.to_pylist())))


def shared_texts() -> Iterator[tuple[str, str]]:
    """Every text in the shared data, with where it is from: papers, records, gold text, benchmarks, merges."""
    for path in sorted(f for f in DATA.rglob("*") if f.is_file()):
        where = str(path.relative_to(DATA))
        if path.name.endswith(".jsonl.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines):
                    yield f"{where}:{number}", str(json.loads(line).get("text") or line)
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as table:
                yield from ((f"{where}:{n}", " | ".join(row)) for n, row in enumerate(csv.reader(table)))
        elif path.suffix == ".jsonl":
            yield from ((f"{where}:{n}", line) for n, line in enumerate(path.read_text(encoding="utf-8").splitlines()))
        elif path.suffix != ".pdf" and path.stat().st_size:
            yield where, path.read_bytes().decode(errors="replace")


@pytest.mark.slow
@pytest.mark.parametrize(("tokenizer", "step"), [("gpt2", 1), ("small", 10)])
def test_all_of_the_shared_data(tokenizer: str, step: int, request: pytest.FixtureRequest) -> None:
    """On every text that the project has for tests the ids are the reference's (on every tenth, for the second)."""
    if not DATA.exists():
        pytest.skip("the shared data are not on this machine")
    file: Path = request.getfixturevalue(tokenizer)
    reference, num_bytes = Reference(vocabulary.load(file)), 0
    fast = [choose(vocabulary.load(file), file, name) for name in FAST]
    found = itertools.islice(shared_texts(), 0, None, step)
    while batch := list(itertools.islice(found, 500)):
        texts = arrow([text for _, text in batch])
        expected = split(reference.encode(texts))
        for encoder in fast:
            ours = split(encoder.encode(texts))
            assert [where for (where, _), a, b in zip(batch, ours, expected, strict=True) if a != b] == []
        num_bytes += texts.nbytes
    assert num_bytes > 60e6 / step


# ---- which encoder is taken


def saved(tokenizer: Peer, folder: Path) -> Path:
    """Write a tokenizer.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def bytes_only(pre_tokenizer: Any) -> Peer:
    """A tokenizer of the 256 bytes and a few merges."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))} | {
        "in": 256,
        "ing": 257,
        "11": 258,
    }
    tokenizer = Peer(models.BPE(vocab, [("i", "n"), ("in", "g"), ("1", "1")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.ByteLevel()
    return tokenizer


LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
LATER = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), LEVEL])


def test_the_fastest_that_knows_the_tokenizer(tmp_path: Path, gpt2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` takes gigatoken for GPT-2, and for a pattern that it does not know the next, and says why."""
    assert choose(vocabulary.load(gpt2), gpt2, "auto").name == "gigatoken"
    file = saved(bytes_only(LATER), tmp_path)
    capsys.readouterr()
    assert choose(vocabulary.load(file), file, "auto").name == "fastokens"
    said = capsys.readouterr().err
    assert "gigatoken does not take this tokenizer: Unsupported pre_tokenizer" in said
    assert "encoding with fastokens 0." in said


def test_one_that_gives_other_ids_is_not_taken(
    gpt2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that is wrong in one id of one sample is passed over, and refused where it is asked for by name."""
    encode = Gigatoken.encode

    def wrong(self: Gigatoken, texts: pa.StringArray) -> Encoded:
        ids, lengths = encode(self, texts)
        return Encoded(np.where(np.arange(len(ids)) == len(ids) - 1, 0, ids), lengths)

    monkeypatch.setattr(Gigatoken, "encode", wrong)
    assert choose(vocabulary.load(gpt2), gpt2, "auto", ["a sample"]).name == "fastokens"
    assert "gigatoken gives other ids than tokenizers with this tokenizer" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="tokenize.encoder: gigatoken gives other ids .*; set it to auto"):
        choose(vocabulary.load(gpt2), gpt2, "gigatoken", ["a sample"])


def test_without_the_fast_libraries(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither is installed `auto` says so and takes the reference; one asked for by name is refused with the cure."""
    monkeypatch.setattr(encoders, "find_spec", lambda _: None)
    assert choose(vocabulary.load(small), small, "auto").name == "tokenizers"
    said = capsys.readouterr().err
    assert "gigatoken is not installed (pip install -e '.[tokenize]')" in said
    assert "encoding with tokenizers, about 100 times slower" in said
    with pytest.raises(SettingsError, match="fastokens is not installed"):
        choose(vocabulary.load(small), small, "fastokens")


@pytest.mark.parametrize("special", [True, False])
def test_added_tokens(tmp_path: Path, special: bool) -> None:
    """A special token's name is text; an added token that is not special is a token in text; whoever encodes."""
    tokenizer = bytes_only(LEVEL)
    tokenizer.add_tokens([AddedToken("<tag>", special=special), AddedToken("word", special=special)])
    file = saved(tokenizer, tmp_path)
    texts = ["a<tag>b", "<tag><tag>", "word swords", "<ta", "g>"]
    expected = peer_ids(file, texts)
    assert (259 in expected[0], 260 in expected[2]) == (not special, not special)
    assert split(choose(vocabulary.load(file), file, "auto", texts).encode(arrow(texts))) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(t, "normalizer", normalizers.NFC()),
        lambda t: setattr(t, "normalizer", normalizers.Lowercase()),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda t: setattr(t, "pre_tokenizer", LATER),
        lambda t: setattr(t.model, "ignore_merges", True),
        lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.Whitespace()),
        lambda t: t.enable_truncation(3),
        lambda t: t.enable_padding(length=50),
    ],
)
def test_settings_of_a_tokenizer(tmp_path: Path, change: Any) -> None:
    """Normalizers, prefixes, other cuts, limits: whatever a file says, what `auto` takes gives the reference's ids."""
    tokenizer = bytes_only(LEVEL)
    change(tokenizer)
    file = saved(tokenizer, tmp_path)
    chosen, reference = choose(vocabulary.load(file), file, "auto"), Reference(vocabulary.load(file))
    assert chosen.encode(arrow(ADVERSARIAL)).same(reference.encode(arrow(ADVERSARIAL)))


@pytest.mark.parametrize("whitespace", ["gpt2", "code", "lines"])
@pytest.mark.parametrize("digits", ["single", "triples", "thousands", "runs"])
def test_every_cut_that_training_offers(tmp_path: Path, digits: str, whitespace: str, articles: list[str]) -> None:
    """For each rule of `train_tokenizer` a fast library is found, and on hard texts its ids are the reference's."""
    file = tmp_path / "tokenizer.json"
    bpe.train(iter([*articles, *HARD_TEXTS]), 600, patterns.pieces(digits, whitespace), file)
    chosen = choose(vocabulary.load(file), file, "auto")
    assert chosen.name in FAST
    if (digits, whitespace) in (("single", "code"), ("triples", "code"), ("runs", "gpt2")):
        assert chosen.name == "gigatoken"
    assert split(chosen.encode(arrow(ADVERSARIAL))) == peer_ids(file, ADVERSARIAL)


# ---- threads and memory

THREADS = """
import os, sys
from pathlib import Path
import pyarrow as pa
from stages.stream import vocabulary
from stages.tokenize.encoders import choose
pa.set_cpu_count(1)
file = Path(sys.argv[1])
before = len(os.listdir("/proc/self/task"))
encoder = choose(vocabulary.load(file), file, sys.argv[2])
encoder.encode(pa.array(["Some words, 12 of them. " * 800] * 64))
busy = [Path(f"/proc/self/task/{t}/stat").read_text().rsplit(")")[-1].split() for t in os.listdir("/proc/self/task")]
print(encoder.name, sum(int(fields[11]) > 0 for fields in busy), len(busy) - before)
"""


@pytest.mark.parametrize("wanted", ["gigatoken", "fastokens", "tokenizers"])
def test_threads_are_those_of_the_site(small: Path, wanted: str) -> None:
    """An encoder starts as many threads as the site gives workers, and each library at most as many."""
    grown = {}
    for workers in ("1", "3"):
        environment = os.environ | {
            "BOREALIS_WORKERS": workers,
            "RAYON_NUM_THREADS": "7",
            "TOKENIZERS_PARALLELISM": "true",
        }
        command = [sys.executable, "-c", THREADS, str(small), wanted]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        name, _, grown[workers] = done.stdout.split()
        assert name == wanted
    libraries = 1 if wanted == "tokenizers" else 2  # the reference is tried beside it
    assert int(grown["3"]) <= 3 * libraries
    assert 0 < int(grown["3"]) - int(grown["1"]) <= 2 * libraries


def words_that_never_repeat(draw: random.Random, num_bytes: int) -> str:
    """Text of which no word comes twice: the worst for a cache of words."""
    letters = np.frombuffer(draw.randbytes(num_bytes), np.uint8) % 26 + 97
    letters[::13] = 32
    return letters.astype(np.uint8).tobytes().decode()


@pytest.mark.skipif(not resident_bytes(), reason="this system does not say how much memory a process has")
def test_a_cache_that_grows_is_dropped(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When gigatoken holds more than it may it begins anew, the ids are the same before and after, and memory stays."""
    monkeypatch.setattr(encoders, "CACHE_BYTES", 64 << 20)
    begun: list[int] = []
    begin = Gigatoken._begin
    monkeypatch.setattr(Gigatoken, "_begin", lambda self: (begun.append(resident_bytes()), begin(self))[1])
    encoder, other, draw = Gigatoken(small), FAST["fastokens"](small), random.Random(0)
    for _ in range(12):
        texts = arrow([words_that_never_repeat(draw, 250_000) for _ in range(16)])
        assert encoder.encode(texts).same(other.encode(texts))
    assert 2 <= len(begun) <= 8
    assert resident_bytes() < begun[0] + (1 << 30)
