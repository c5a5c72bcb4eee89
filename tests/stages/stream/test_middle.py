"""Fill in the middle: nothing is lost, every middle is complete, and the draws are even."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tokens import TokenOrder
from stages.base import SettingsError
from stages.stream.middle import Marks, Middle, open_middle
from stages.stream.vocabulary import MIDDLE_TOKENS

END, MARKS = 0, Marks(prefix=901, middle=902, suffix=903, end=0)
DOCUMENTS = st.lists(st.lists(st.integers(1, 899), max_size=9), min_size=1, max_size=6)


def middle(fraction: float = 1.0, seed: int = 0) -> Middle:
    """A setting for source `code`."""
    return Middle(fraction, frozenset({"code"}), seed, MARKS)


def sample(documents: list[list[int]], ended: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Documents one after another, each with its end token, the last without it if it does not end; and their starts."""
    pieces = [[*d, END] for d in documents]
    if not ended:
        pieces[-1] = pieces[-1][:-1] or [7]
    lengths = np.array([len(p) for p in pieces])
    return np.array([t for p in pieces for t in p]), np.cumsum(lengths) - lengths


def back(document: list[int]) -> tuple[list[int], str]:
    """The document that a turned one was made of, and the form: `psm`, `spm` or `plain`."""
    if document[:1] != [MARKS.prefix]:
        return document, "plain"
    *body, end = document[1:]
    assert end == END
    if body[0] == MARKS.suffix:
        suffix, _, rest = (body[1 : (cut := body.index(MARKS.middle))], None, body[cut + 1 :])
        return [*rest, *suffix, END], "spm"
    after, between = body.index(MARKS.suffix), body.index(MARKS.middle)
    return [*body[:after], *body[between + 1 :], *body[after + 1 : between], END], "psm"


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.booleans(), st.integers(0, 10**12), st.integers(0, 20))
def test_turned_documents_turn_back(documents: list[list[int]], ended: bool, position: int, room: int) -> None:
    """Each document is as it was or can be put back from its parts; a sample keeps to its limit and loses only its end."""
    tokens, starts = sample(documents, ended)
    turned, moved = middle(0.7).turn(tokens, starts, position, len(tokens) + room)
    assert len(turned) <= len(tokens) + room
    pieces = [p.tolist() for p in np.split(turned, moved[1:])]
    originals = [p.tolist() for p in np.split(tokens, starts[1:])]
    for number, (piece, original) in enumerate(zip(pieces, originals, strict=False)):
        if number == len(pieces) - 1 and piece == original[: len(piece)]:
            continue  # what fell off the end
        assert back(piece)[0] == original
        if original[-1] != END or len(original) < 2:
            assert piece == original


def test_forms_and_cuts_are_even() -> None:
    """Half are PSM, half SPM; every pair of cuts of a short document comes as often as two even draws make it."""
    tokens, starts = sample([[1, 2, 3]])
    cuts: Counter[tuple[int, int]] = Counter()
    for position in range(6400):
        document = middle().turn(tokens, starts, position, 100)[0].tolist()
        between, after = document.index(MARKS.middle), document.index(MARKS.suffix)
        if after > 1:  # with an empty prefix the two forms are the same
            cuts[after - 1, after - 1 + len(document) - between - 2] += 1
    total = cuts.total()
    assert abs(total - 6400 * 9 / 32) < 4 * (6400 * 9 / 32 * 23 / 32) ** 0.5
    expected = {(a, b): total * (1 if a == b else 2) / 9 for a in range(1, 4) for b in range(a, 4)}
    assert set(cuts) == set(expected)
    assert sum((cuts[c] - n) ** 2 / n for c, n in expected.items()) < 25.7  # 5 degrees, 1 in 10,000


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_share_of_documents(fraction: float) -> None:
    """As many documents are turned as asked for, within 4 standard errors, each decided by itself."""
    tokens, starts = sample([[1, 2, 3, 4]] * 50)
    turned = sum(int((middle(fraction).turn(tokens, starts, n, 1000)[0] == MARKS.prefix).sum()) for n in range(100))
    assert abs(turned - 5000 * fraction) <= 4 * (5000 * fraction * (1 - fraction)) ** 0.5


def test_draws_hang_on_seed_and_position() -> None:
    """The same position gives the same sample; another position or seed another."""
    tokens, starts = sample([list(range(1, 40)), list(range(50, 90))])
    one = middle().turn(tokens, starts, 5, 100)[0].tolist()
    assert one == middle().turn(tokens, starts, 5, 100)[0].tolist()
    assert one != middle().turn(tokens, starts, 6, 100)[0].tolist()
    assert one != middle(seed=1).turn(tokens, starts, 5, 100)[0].tolist()


def test_turning_is_frozen() -> None:
    """What a seed makes of a sample never changes: resumed runs depend on it."""
    tokens, starts = sample([[1, 2, 3, 4, 5], [6, 7, 8]])
    first, second = [901, 1, 2, 3, 903, 902, 4, 5, END], [901, 903, 7, 8, 902, 6, END]
    assert middle().turn(tokens, starts, 0, 100)[0].tolist() == first + second


def test_no_middle_is_cut() -> None:
    """A document is turned only if all of it stays in the sample, so a full sample turns none at its very end."""
    tokens, starts = sample([[1, 2, 3], [4, 5, 6]])
    turned, moved = middle().turn(tokens, starts, 0, len(tokens))
    assert len(turned) == len(tokens)
    assert turned[0] == MARKS.prefix
    assert turned[moved[1] :].tolist() == [4]
    assert middle().turn(*sample([[1, 2, 3]]), 0, 4)[0].tolist() == [1, 2, 3, END]


def order(fraction: float, sources: list[str]) -> TokenOrder:
    """A row that asks for fill in the middle."""
    return TokenOrder.sample(1)[0].model_copy(update={"middle_fraction": fraction, "middle_sources": sources})


def tokenizer(tmp_path: Path, tokens: tuple[str, ...]) -> tokenizers.Tokenizer:
    """A tokenizer with these special tokens."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.add_special_tokens(["<|endoftext|>", *tokens])
    return made


def test_marks_come_from_the_tokenizer(tmp_path: Path) -> None:
    """The ids are the tokenizer's; without a wish nothing is asked of it; a missing token is refused by name."""
    made = tokenizer(tmp_path, MIDDLE_TOKENS)
    opened = open_middle(order(0.5, ["code"]), made, eod_id=0)
    assert opened is not None
    assert opened.marks == Marks(*(made.token_to_id(t) for t in MIDDLE_TOKENS), 0)
    assert (opened.fraction, opened.sources) == (0.5, frozenset({"code"}))
    bare = tokenizer(tmp_path, ())
    assert open_middle(order(0.0, ["code"]), bare, 0) is None
    assert open_middle(order(0.5, []), bare, 0) is None
    with pytest.raises(SettingsError, match=r"no token '<\|fim_prefix\|>'"):
        open_middle(order(0.5, ["code"]), bare, 0)
