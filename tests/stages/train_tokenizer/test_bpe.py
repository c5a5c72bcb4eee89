"""The tokenizer: every text can be written, text never becomes a special id, and others read it the same way."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.stream.vocabulary import SPECIAL_TOKENS, load, num_ids
from stages.train_tokenizer import bpe, patterns

CUT = patterns.pieces("single", "code")
MIN_VOCAB = 256 + len(SPECIAL_TOKENS)
ROOT = Path(__file__).parents[3]
PAPERS = ROOT.parent / "shared" / "data" / "corpora" / "pmc-ccby-260.jsonl.gz"
ODD = [
    "Is <|endoftext|> text? <|user|>hi<|end|>",
    "x² + y² = 10⁻³ µm\n\n\tα → β  (1,234.5)",
    "naïve 中文 😀 e\u0301 \u00a0\u2009|",
    " leading, trailing  ",
]


@pytest.fixture(scope="module")
def file(articles: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a small tokenizer."""
    file = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    bpe.train(iter(articles), 400, CUT, file)
    return file


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> Tokenizer:
    """Load it as the stage does."""
    return load(file)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode as the stage does."""
    return list(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def test_special_tokens_have_the_lowest_ids(tokenizer: Tokenizer) -> None:
    """Special tokens come first, then the 256 bytes, then merges up to the size asked for."""
    assert [tokenizer.token_to_id(t) for t in SPECIAL_TOKENS] == list(range(8))
    assert num_ids(tokenizer) == tokenizer.get_vocab_size() == 400
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    assert [len(token) for token in tokens[8:MIN_VOCAB]] == [1] * 256
    assert len(tokens[MIN_VOCAB]) == 2


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    """Decoding gives the text back, whatever it is, and no special id appears in it."""
    encoded = ids(tokenizer, text)
    assert tokenizer.decode(encoded, skip_special_tokens=False) == text
    assert all(i >= len(SPECIAL_TOKENS) for i in encoded)


@pytest.mark.parametrize("text", ODD)
def test_special_names_in_text_are_text(tokenizer: Tokenizer, text: str) -> None:
    """The name of a special token in a document is encoded as its characters."""
    assert min(ids(tokenizer, text)) >= len(SPECIAL_TOKENS)
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    """A number is one token a digit, though the training text is full of numbers."""
    assert [tokenizer.id_to_token(i) for i in ids(tokenizer, "1400")] == list("1400")
    assert not any(len(t) > 1 and set(t) & set("0123456789") for t in tokenizer.get_vocab())


def test_transformers_encodes_the_same(file: Path, tokenizer: Tokenizer, articles: list[str]) -> None:
    """`transformers` gives the same ids from the same file, and the special ids where it is asked for them."""
    peer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    for text in [*articles[:5], *ODD]:
        assert peer.encode(text, add_special_tokens=False, split_special_tokens=True) == ids(tokenizer, text)
    assert peer.encode("<|endoftext|>", add_special_tokens=False) == [0]


def test_real_papers_come_back(tokenizer: Tokenizer) -> None:
    """Real papers are given back exactly, and `transformers` agrees on their ids."""
    if not PAPERS.exists():
        pytest.skip("the set of real papers is not on this machine")
    with gzip.open(PAPERS, "rt") as stream:
        papers = [json.loads(next(stream))["text"] for _ in range(10)]
    peer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    for paper in papers:
        encoded = ids(tokenizer, paper)
        assert tokenizer.decode(encoded) == paper
        assert peer.encode(paper, add_special_tokens=False, split_special_tokens=True) == encoded


def test_same_texts_same_bytes_on_any_number_of_threads(articles: list[str], file: Path, tmp_path: Path) -> None:
    """Training with 1 and with 4 threads, and on the texts in another order, writes the same file."""
    (tmp_path / "texts.json").write_text(json.dumps(articles[::-1]))
    code = "import json, sys, pathlib; from stages.train_tokenizer import bpe, patterns; folder = pathlib.Path(sys.argv[1]);"
    code += "texts = iter(json.loads((folder / 'texts.json').read_text()));"
    code += "bpe.train(texts, 400, patterns.pieces('single', 'code'), folder / sys.argv[2])"
    for threads in ("1", "4"):
        command = [sys.executable, "-c", code, str(tmp_path), f"{threads}.json"]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"RAYON_NUM_THREADS": threads})
        assert (tmp_path / f"{threads}.json").read_bytes() == file.read_bytes()


def test_merges_are_those_of_the_commonest_pairs(tmp_path: Path) -> None:
    """On a text small enough to count by hand, the merges are in the order of their counts."""
    bpe.train(iter(["ababab ab", "ab cd cd", "cd"]), MIN_VOCAB + 2, CUT, tmp_path / "tokenizer.json")
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    assert model["merges"] == [["a", "b"], ["c", "d"]]  # 5 times, 3 times


def test_another_trainer_makes_the_same_merges(articles: list[str], tmp_path: Path) -> None:
    """`gigatoken`, which cuts by GPT-2's pattern, merges the same pairs in the same order."""
    gigatoken = pytest.importorskip("gigatoken")
    bpe.train(iter(articles), 600, patterns.pieces("runs", "gpt2"), tmp_path / "tokenizer.json")
    ours = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["merges"]
    _, merges = gigatoken.train_bpe("\0".join(articles).encode(), 600, list(SPECIAL_TOKENS), separator=b"\0")
    spelled = dict(zip(_byte_order(), sorted(pre_tokenizers.ByteLevel.alphabet()), strict=True))
    theirs = [["".join(spelled[b] for b in half) for half in pair] for pair in merges]
    assert theirs == ours


def _byte_order() -> list[int]:
    """Bytes in the order of the characters that GPT-2 writes them as: those that print first, as themselves."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printing + [b for b in range(256) if b not in printing]
