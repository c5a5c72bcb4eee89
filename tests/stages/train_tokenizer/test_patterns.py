"""Where texts are cut before pairs are merged."""

import itertools

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from stages.train_tokenizer.patterns import DIGITS, SPACES, pattern, pieces

QWEN_2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3 = QWEN_2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CHOICES = list(itertools.product(DIGITS, SPACES))


def cut(text: str, digits: str, whitespace: str) -> list[str]:
    """Return the pieces of a text, as text."""
    found = pieces(digits, whitespace).pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in found]


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("single", ["1", "2", "3", "4", "5", "6", "7"]),
        ("triples", ["123", "456", "7"]),
        ("thousands", ["1", "234", "567"]),
        ("runs", ["1234567"]),
    ],
)
@pytest.mark.parametrize("whitespace", ["code", "lines"])
def test_digits(digits: str, expected: list[str], whitespace: str) -> None:
    """A number is cut as its name says, without the space or the letter before it."""
    assert cut("is 1234567K", digits, whitespace) == ["is", " ", *expected, "K"]


def test_places_agree_from_the_right() -> None:
    """Cut from the right, the thousands of all numbers stand in the same places; six digits are two threes."""
    assert cut("123456 23456 3456", "thousands", "code") == ["123", "456", " ", "23", "456", " ", "3", "456"]
    assert cut("1,234.5678", "thousands", "code") == ["1", ",", "234", ".", "5", "678"]


@pytest.mark.parametrize(
    ("whitespace", "expected"),
    [
        ("gpt2", ["if", " a", ":", "\n\n   ", " b", ";", "\n"]),
        ("code", ["if", " a", ":\n\n", "   ", " b", ";\n"]),
        ("lines", ["if", " a", ":", "\n", "\n", "   ", " b", ";", "\n"]),
    ],
)
def test_white_space(whitespace: str, expected: list[str]) -> None:
    """Indentation is apart from newlines for code, and each newline stands alone for lines."""
    assert cut("if a:\n\n    b;\n", "single", whitespace) == expected


@pytest.mark.parametrize(("digits", "theirs"), [("single", QWEN_2), ("triples", LLAMA_3)])
def test_these_are_the_patterns_of_well_known_models(digits: str, theirs: str) -> None:
    """The patterns are the very ones of Qwen 2 and Llama 3, which fast encoders know by their letters."""
    assert pattern(digits, "code") == theirs


def test_gpt2_is_gpt2() -> None:
    """With runs of digits, the rule is the one that the library keeps for GPT-2."""
    text = "It's 12 x  34\n\n  µm (a_b) 5kg"
    rule = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert pieces("runs", "gpt2").pre_tokenize_str(text) == rule.pre_tokenize_str(text)


@pytest.mark.parametrize(("digits", "whitespace"), [c for c in CHOICES if c != ("runs", "gpt2")])
@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet="ab Zé中'st12345,.;(\n\r\t \u00a0", max_size=60))
def test_another_engine_cuts_the_same(digits: str, whitespace: str, text: str) -> None:
    """The pattern matches everything and, read by another engine of regular expressions, cuts in the same places."""
    expected = regex.findall(pattern(digits, whitespace), text)
    assert "".join(expected) == text
    assert cut(text, digits, whitespace) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="a1 \n\t;", max_size=40))
def test_no_piece_holds_two_lines(text: str) -> None:
    """Cut by lines, no piece goes on after a newline, nor holds anything beside it."""
    assert all(piece == "\n" or "\n" not in piece for piece in cut(text, "single", "lines"))
