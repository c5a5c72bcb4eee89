"""Tokens of each kind of text, counted."""

import itertools
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import regex
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from schemas.tokens import Fertility
from stages.stream.kinds import spans
from stages.train_tokenizer import fertility
from stages.train_tokenizer.fertility import Group, measure, show

GPT2 = Path(__file__).parents[4] / "shared" / "data" / "tokenizers" / "gpt2"
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEXT = (
    "# Results\n\nThe film was held at 1,250.5 K for 10 min (p < 0.05), as $E = mc^2$ has it. Aspirin is\n"
    "CC(=O)Oc1ccccc1C(=O)O in μ-units; naïve 中文 😀.\n\n| K | GPa |\n|---|---|\n| 300 | 1.5 |\n\n"
    "```\nfor i in range(10):\n    print(i)\n```\nThe end  of it.\n"
)


def byte_characters() -> dict[int, str]:
    """Say how GPT-2's files write each byte: those that print as themselves, the others from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printing]
    return {b: chr(b) for b in printing} | {b: chr(256 + i) for i, b in enumerate(others)}


def plain_bpe(piece: bytes, ranks: dict[tuple[str, str], int]) -> list[bytes]:
    """Merge a piece's bytes by rank, one pair after another, as the definition of BPE says."""
    spelled, parts = byte_characters(), [bytes([b]) for b in piece]
    written = partial(_written, spelled)
    while len(parts) > 1:
        rank, i = min(
            (ranks.get((written(a), written(b)), 1 << 30), i) for i, (a, b) in enumerate(itertools.pairwise(parts))
        )
        if rank == 1 << 30:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _written(spelled: dict[int, str], part: bytes) -> str:
    return "".join(spelled[b] for b in part)


def gpt2_file(folder: Path) -> tuple[Path, dict[tuple[str, str], int]]:
    """Write OpenAI's files as a tokenizer.json; also return the ranks of the merges."""
    if not GPT2.exists():
        pytest.skip("GPT-2's tokenizer is not on this machine")
    merges = [tuple(line.split(" ")) for line in (GPT2 / "vocab.bpe").read_text().split("\n")[1:] if line]
    tokenizer = Tokenizer(models.BPE(json.loads((GPT2 / "encoder.json").read_text()), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)  # as the files of the hub have it
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.save(str(folder / "gpt2.json"))
    return folder / "gpt2.json", {(a, b): rank for rank, (a, b) in enumerate(merges)}


@pytest.fixture
def bytes_only() -> Tokenizer:
    """Make a tokenizer whose tokens are the bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def by_kind(rows: list[Fertility], field: str = "num_tokens") -> dict[str, int]:
    """Return a number of each kind, all sources together."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.kind] += getattr(row, field)
    return dict(counts)


def test_gpt2_counted_by_other_code(tmp_path: Path) -> None:
    """Tokens of GPT-2's tokenizer are those of a plain BPE over another engine's pieces, kind by kind."""
    file, ranks = gpt2_file(tmp_path)
    expected: Counter[str] = Counter()
    position, tiles = 0, [kind for start, end, kind in spans(TEXT) for _ in TEXT[start:end]]
    for piece in regex.findall(PATTERN, TEXT):
        place = [position + i for i, c in enumerate(piece) for _ in c.encode()]  # the character of each byte
        position += len(piece)
        end = 0
        for part in plain_bpe(piece.encode(), ranks):
            end += len(part)
            expected[tiles[place[end - 1]]] += 1
    rows = measure(iter([(Group("s", "en"), TEXT)]), {"gpt2": Tokenizer.from_file(str(file))})
    assert by_kind(rows) == dict(expected)
    assert len(expected) == 6


def test_bytes_counted_by_hand(bytes_only: Tokenizer) -> None:
    """A tokenizer of bytes makes one token a byte of each kind, and sizes add up to the text."""
    rows = measure(iter([(Group("s", None), TEXT)]), {"bytes": bytes_only})
    assert {r.kind: r.num_tokens for r in rows} == {r.kind: r.num_bytes for r in rows}
    assert sum(r.num_bytes for r in rows) == len(TEXT.encode())
    assert sum(r.num_characters for r in rows) == len(TEXT)
    (smiles,) = [r for r in rows if r.kind == "smiles"]
    assert (smiles.num_words, smiles.num_bytes) == (1, len("CC(=O)Oc1ccccc1C(=O)O"))
    (number,) = [r for r in rows if r.kind == "number"]
    assert (number.num_words, number.num_characters) == (3, len(" 1,250.5 10 0.05"))


def test_tokens_add_up(
    tmp_path: Path, articles: list[str], bytes_only: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many documents in batches, the tokens of all kinds are those of the encoded documents, group by group."""
    monkeypatch.setattr(fertility, "BATCH_CHARS", 5_000)
    groups = [Group("a", "en"), Group("a", "de"), Group("b", None)]
    documents = [(groups[i % 3], text) for i, text in enumerate(articles)]
    rows = measure(iter(documents), {"x": bytes_only, "y": bytes_only})
    for group in groups:
        expected = sum(len(text.encode()) for g, text in documents if g == group)
        for name in ("x", "y"):
            mine = [r for r in rows if (r.tokenizer, r.source, r.language) == (name, *group)]
            assert sum(r.num_tokens for r in mine) == sum(r.num_bytes for r in mine) == expected
    keys = [(r.tokenizer, r.source, r.language, r.kind) for r in rows]
    assert len(set(keys)) == len(keys)


def test_nothing_to_measure(bytes_only: Tokenizer) -> None:
    """No documents give no rows."""
    assert measure(iter([]), {"x": bytes_only}) == []


def test_table_on_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line a kind and a column a tokenizer: bytes a token, tokens a word, over all sources."""
    sizes: dict[str, Any] = {"language": None, "num_characters": 200, "num_words": 20}
    show(
        [
            Fertility(tokenizer=name, source=source, kind="prose", num_bytes=200, num_tokens=tokens, **sizes)
            for name, tokens in (("ours", 40), ("gpt2", 50))
            for source in ("a", "b")
        ]
    )
    words = capsys.readouterr().out
    assert "5.00 (2.00)" in words
    assert "4.00 (2.50)" in words
