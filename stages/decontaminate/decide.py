"""Whether a stretch of text holds a benchmark item, and in which shape.

The measure is the share of the item's letter 4-grams that the stretch has, letters folded as OCR mistakes them and numbers
masked: an error in a letter costs four of them, a changed word as many as it has letters, and order matters little. By
chance a stretch of the item's own field has 0.3 to 0.5; the shorter the item the more, so what is asked of an item of n
4-grams is `min_letters + 16 / n`, at most 0.9. (1,500 articles of plant and medical science against 4,100 items of ARC,
MMLU, GSM8K, PubMedQA and HumanEval: no article reached it.)

Tiers, the first that holds: `verbatim`, `folded` and `masked` have nearly all letters (the numbers and letters as they are;
the numbers as they are; neither); `reworded` has enough; `run` has a dozen of the item's words in a row; `answered` is a little short of it and has the answer close
by; `semantic` is short of it and an embedding says that it means the same.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from schemas.evaluation import BenchmarkItem
from stages.decontaminate.letters import folded
from stages.decontaminate.needles import needle

Tier = Literal["verbatim", "folded", "masked", "reworded", "run", "answered", "semantic"]
Cosine = Callable[[str, str], float]

SIZE = 4  # letters of a gram
NEARLY_ALL = 0.9
SHORT_EXTRA, MOST = 16, 0.9  # what a short item needs more, and at most
ANSWERED_LESS, SEMANTIC_LEAST = 0.1, 0.38
MIN_ANSWER_LETTERS = 6  # an answer such as "yes" or "B" is near everything
HYPHENATION = re.compile(r"-[ \t\r]*\n\s*(?=[^\W\d_])")
NUMBER = re.compile(r"(?<![^\W_])\d+(?:[.,]\d+)*(?![^\W_])")  # a word of its own: the 0 of w0rd is a letter
EDGES = re.compile(r"^\W+|\W+$")  # a stretch begins and ends with a word
ONE_NUMBER = "\x01"  # stands for any number


class _Fold(dict[int, str]):
    """For `str.translate`: what a character becomes, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = found = folded(char) if char.isalnum() else ""
        return found


_FOLD = _Fold({ord(ONE_NUMBER): ONE_NUMBER})


class Verdict(NamedTuple):
    """How a stretch of text holds an item."""

    tier: Tier
    score: float


class Judge:
    """Decides about items by number, keeping what is needed of each."""

    def __init__(
        self, items: Sequence[BenchmarkItem], min_letters: float, min_cosine: float, cosine: Cosine | None
    ) -> None:
        self.items, self.min_letters, self.min_cosine, self.cosine = items, min_letters, min_cosine, cosine
        self.grams = lru_cache(maxsize=1 << 14)(self._grams)

    def __call__(self, number: int, stretch: str, run: bool = False) -> Verdict | None:  # noqa: FBT001, FBT002
        """Say whether `stretch` holds item `number`; `run`: it has many of the item's words in a row."""
        grams = self.grams(number)
        score = _share(grams, stretch)
        needed = min(MOST, self.min_letters + SHORT_EXTRA / max(1, len(grams)))
        if score >= needed:
            return Verdict(self._shape(number, stretch) if score >= NEARLY_ALL else "reworded", score)
        if run:
            return Verdict("run", score)
        if score >= needed - ANSWERED_LESS and self._answered(number, stretch):
            return Verdict("answered", score)
        if self.cosine and score >= SEMANTIC_LEAST:
            meaning = self.cosine(needle(self.items[number]), stretch)
            return Verdict("semantic", meaning) if meaning >= self.min_cosine else None
        return None

    def _grams(self, number: int) -> frozenset[str]:
        return frozenset(_letter_grams(letters_of(needle(self.items[number]))))

    def _shape(self, number: int, stretch: str) -> Tier:
        text = needle(self.items[number])
        if " ".join(EDGES.sub("", text).split()) in " ".join(stretch.split()):
            return "verbatim"
        have = NUMBER.findall(stretch)
        return "folded" if all(n in have for n in NUMBER.findall(text)) else "masked"

    def _answered(self, number: int, stretch: str) -> bool:
        answer = letters_of(self.items[number].answer)
        if len(answer) < MIN_ANSWER_LETTERS or answer in letters_of(self.items[number].question):
            return False
        return answer in letters_of(stretch)


def letters_of(text: str) -> str:
    """The folded letters of a text without anything between them; each number is one `ONE_NUMBER`."""
    plain = NUMBER.sub(ONE_NUMBER, HYPHENATION.sub("", text))
    return plain.translate(_FOLD).replace("rn", "m").replace("vv", "w")


def _letter_grams(letters: str) -> set[str]:
    return {letters[i : i + SIZE] for i in range(len(letters) - SIZE + 1)}


def _share(grams: frozenset[str], stretch: str) -> float:
    return len(grams & _letter_grams(letters_of(stretch))) / max(1, len(grams))
