"""Every token of a byte-level vocabulary has a domain, and the bytes of all domains are the text."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from stages.stream.domains import BYTES, DOMAINS, NO_TEXT, Domains
from stages.stream.kinds import spans
from stages.train_tokenizer.fertility import Group, measure
from tests.stages.model.token_files import EOD, train_bpe

TEXT = (
    "The sample — µm thick — was held at 1,250.5 K for 10 min, p < 0.05; aspirin is CC(=O)Oc1ccccc1C(=O)O in SMILES.\n"
    "So\n$$ \\int_0^1 x\\,dx = \\frac{1}{2} $$\nholds, and\n\n"
    "```python\nfor i in range(10):\n    print(i)\n```\n"
    "| K | GPa |\n|---|---|\n| 300 | 1.5 |\n\nAbove it melts 🔬.\n"
)


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level BPE whose merges cross from one kind of text into another."""
    return train_bpe([TEXT] * 4, 400, tmp_path_factory.mktemp("bpe") / "tokenizer.json")


@pytest.fixture(scope="module")
def domains(bpe: Tokenizer) -> Domains:
    """The domains of its tokens."""
    found = Domains.of(bpe)
    assert found is not None
    return found


def test_bytes_are_written_as_gpt2_writes_them() -> None:
    """The 256 characters stand for the bytes that the released GPT-2 code has for them."""
    assert {chr_: byte for byte, chr_ in bytes_to_unicode().items()} == BYTES


def test_the_tokens_of_a_text_write_its_bytes(bpe: Tokenizer, domains: Domains) -> None:
    """What the tokens write, one after the other, is the text, and each counts for as many bytes as it writes."""
    ids = bpe.encode(TEXT).ids
    assert b"".join(domains.written[i] for i in ids) == TEXT.encode()
    assert domains.tell(np.array(ids)).num_bytes.tolist() == [len(domains.written[i]) for i in ids]


def test_a_token_is_of_the_kind_of_its_last_byte(bpe: Tokenizer, domains: Domains) -> None:
    """Byte by byte: the kind of the character that a token's last byte is part of; all six kinds are found."""
    kind_of_byte = [kind for start, end, kind in spans(TEXT) for _ in TEXT[start:end].encode()]
    ids, position, expected = bpe.encode(TEXT).ids, 0, []
    for i in ids:
        position += len(domains.written[i])
        expected.append(kind_of_byte[position - 1])
    assert [DOMAINS[d] for d in domains.tell(np.array(ids)).domains] == expected
    assert set(expected) == set(DOMAINS)


def test_fertility_counts_the_same_tokens(bpe: Tokenizer, domains: Domains) -> None:
    """The tokens of each domain are as many as the tokenizer's own report, which goes by characters, has of that kind."""
    rows = measure(iter([(Group("s", None), TEXT)]), {"bpe": bpe})
    found = Counter(DOMAINS[d] for d in domains.tell(np.array(bpe.encode(TEXT).ids)).domains)
    assert found == {r.kind: r.num_tokens for r in rows}


def test_special_tokens_are_of_no_domain(bpe: Tokenizer, domains: Domains) -> None:
    """The end token writes nothing, wherever it stands; an added token that is text counts as its text."""
    end = bpe.token_to_id(EOD)
    ids = [end, *bpe.encode("12").ids, end]
    found = domains.tell(np.array(ids))
    assert (found.domains[[0, -1]].tolist(), found.num_bytes[[0, -1]].tolist()) == ([NO_TEXT] * 2, [0, 0])
    assert {DOMAINS[d] for d in found.domains[1:-1]} == {"number"}
    more = Tokenizer.from_str(bpe.to_str())
    more.add_tokens([AddedToken("µ-phase", normalized=False)])
    also = Domains.of(more)
    assert also is not None
    assert also.written[more.token_to_id("µ-phase")] == "µ-phase".encode()


def test_a_document_without_text_has_no_domain(bpe: Tokenizer, domains: Domains) -> None:
    """Nothing, and an end token alone, are told without an error."""
    assert domains.tell(np.array([], np.int64)).domains.tolist() == []
    assert domains.tell(np.array([bpe.token_to_id(EOD)])).domains.tolist() == [NO_TEXT]


@settings(deadline=None)
@given(st.lists(st.integers(1, 256), max_size=40))
def test_bytes_that_are_no_text_are_counted(domains: Domains, ids: list[int]) -> None:
    """Any bytes at all, broken characters too, are of some domain and counted once."""
    found = domains.tell(np.array(ids, np.int64))
    assert found.num_bytes.sum() == len(b"".join(domains.written[i] for i in ids))
    assert bool((found.domains < NO_TEXT).all())


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_adds_up(bpe: Tokenizer, domains: Domains, text: str) -> None:
    """The bytes of all domains are the text's."""
    assert domains.tell(np.array(bpe.encode(text).ids, np.int64)).num_bytes.sum() == len(text.encode())


@pytest.mark.parametrize(
    "make",
    [partial(decoders.Metaspace), partial(decoders.WordPiece), partial(decoders.Fuse)],
    ids=lambda m: m.func.__name__,
)
def test_other_vocabularies_have_no_domains(make: Callable[[], object], tmp_path: Path) -> None:
    """Where tokens are not written byte by byte no bytes can be told, and none are made up."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert Domains.of(Tokenizer.from_file(str(tmp_path / "tokenizer.json"))) is None
