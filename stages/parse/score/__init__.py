"""How good a page's text is, against the text that it should have.

`quality` is the number that routing works for: the mean of BLEU and of how much of the science came through (see
`science`). A page whose truth has no science in it is scored by BLEU alone, an empty page's text is right if it is empty.
"""

from typing import NamedTuple

from stages.parse.score.science import fidelity
from stages.parse.score.words import bleu, tokens


class Score(NamedTuple):
    """Three numbers from 0 to 1; `science` is None where there is none to find."""

    quality: float
    bleu: float
    science: float | None


def score(truth: str, text: str) -> Score:
    """Score a page's text against the truth."""
    if not tokens(truth):
        right = 1.0 if not tokens(text) else 0.0
        return Score(right, right, None)
    words, science = bleu(truth, text), fidelity(truth, text).f1
    return Score(words if science is None else (words + science) / 2, words, science)
