"""From tokens to text and pages, against the tokenizers library and the text itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from schemas.corpus import Document
from stages.tables import Reader
from tests.stages.model.token_files import train_bpe
from tests.tables import write_table
from workflows.trace.pages import Paged, Vocabulary, read_documents

TEXTS = ["The density of basalt is 2.9 g/cm³.", "Ωmega → naïve café, 東京 and 🪨🪨!", "tabs\tand\n\nlines   and spaces"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level BPE."""
    file = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    train_bpe(TEXTS * 3, 320, file)
    return file


def encoded(file: Path, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids of a text, and the characters that each touches, by the tokenizers library."""
    found = tokenizers.Tokenizer.from_file(str(file)).encode(text)
    return found.ids, found.offsets


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_ids_give_back_the_text(file: Path, text: str) -> None:
    """The bytes of a text's ids are the text, whatever it holds."""
    ids, _ = encoded(file, text)
    assert Vocabulary(file).bytes(np.array(ids)) == text.encode()


@given(text=st.text(alphabet="abc ³Ω東🪨\n", min_size=1, max_size=40), size=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_pages_are_those_of_the_characters_that_a_token_touches(file: Path, text: str, size: int) -> None:
    """For every run of tokens: the pages of the characters that the tokenizers library says it touches."""
    ids, offsets = encoded(file, text)
    pages = [{"page": i, "start": s, "end": min(s + size, len(text))} for i, s in enumerate(range(0, len(text), size))]
    paged = Paged(Vocabulary(file), np.array([*ids, 0]), text, pages)
    assert paged.known
    for start in range(len(ids)):
        for stop in range(start + 1, min(start + 4, len(ids)) + 1):
            touched = {c for a, b in offsets[start:stop] for c in range(a, b)}
            assert paged.pages(start, stop) == sorted({c // size for c in touched})


def test_the_end_token_is_on_no_page(file: Path) -> None:
    """A run of the end token alone writes nothing, so it is on no page."""
    ids, _ = encoded(file, "basalt")
    paged = Paged(Vocabulary(file), np.array([*ids, 0]), "basalt", [{"page": 1, "start": 0, "end": 6}])
    assert paged.pages(len(ids), len(ids) + 1) == []
    assert paged.pages(0, len(ids) + 1) == [1]


def test_pages_are_unknown_where_ids_do_not_write_the_text(file: Path, tmp_path: Path) -> None:
    """Ids of another text, or of a tokenizer that is not of bytes, give no pages rather than wrong ones."""
    ids, _ = encoded(file, "basalt")
    pages = [{"page": 1, "start": 0, "end": 7}]
    assert Paged(Vocabulary(file), np.array([*ids, 0]), "granite", pages).pages(0, 2) == []
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))
    assert Paged(Vocabulary(tmp_path / "words.json"), np.array([0, 1]), "a b", pages).pages(0, 2) == []
    pieces = tokenizers.Tokenizer(models.BPE({"▁a": 0, "b": 1}, []))  # SentencePiece's mark is no letter of a byte
    pieces.decoder = decoders.Metaspace()
    pieces.save(str(tmp_path / "pieces.json"))
    assert not Vocabulary(tmp_path / "pieces.json").exact


def test_ordinary_added_tokens_write_their_content(file: Path, tmp_path: Path) -> None:
    """An added token that is not special stands for its text; a special one for none."""
    bpe = tokenizers.Tokenizer.from_file(str(file))
    bpe.add_tokens(["g/cm³"])
    bpe.save(str(tmp_path / "added.json"))
    text = "2.9 g/cm³"
    ids = bpe.encode(text).ids
    assert max(ids) == bpe.get_vocab_size() - 1
    vocabulary = Vocabulary(tmp_path / "added.json")
    assert vocabulary.text(np.array([*ids, 0])) == text
    assert vocabulary.lengths.tolist()[0] == 0


def test_a_cut_character_is_marked(file: Path) -> None:
    """Half a character shows as a replacement mark, not as an error."""
    ids, _ = encoded(file, "\U0010fffd")
    assert len(ids) > 1
    assert Vocabulary(file).text(np.array(ids[:1])) == "\N{REPLACEMENT CHARACTER}"


def test_some_documents_are_read_from_any_part(tmp_path: Path) -> None:
    """The rows asked for come with text and pages; unknown ids are of no account."""
    rows = Document.sample(5)
    reader = Reader(write_table(tmp_path, Document, rows, "documents"), Document)
    wanted = {rows[1].doc_id, rows[4].doc_id, "0" * 64}
    found = list(read_documents(reader, wanted))
    assert [r["doc_id"] for r in found] == [rows[1].doc_id, rows[4].doc_id]
    assert found[0]["text"] == rows[1].text
    assert json.loads(json.dumps(found[1]["pages"])) == [p.model_dump() for p in rows[4].pages]
