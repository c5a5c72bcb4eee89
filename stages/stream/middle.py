"""Fill in the middle: documents turned round so that a model learns to write what stands between two texts.

Bavarian et al. 2022 ("Efficient Training of Language Models to Fill in the Middle"), on the context level: a document in a
sample is cut at two places into prefix, middle and suffix, and goes on as, half and half,

    PSM  <|fim_prefix|> prefix <|fim_suffix|> suffix <|fim_middle|> middle <end>
    SPM  <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|> prefix middle <end>     (the paper's second variant)

All draws hang on the seed, the position in the run and the place in the sample, so they are the same for every number of
ranks, and others when a sample comes again. As in Megatron's `GPTFIMDataset`, cuts may lie at either end, and what no
longer fits falls off the end of the sample. Unlike there, cuts fall between tokens and not between characters, since ids
are all that is at hand; only documents whose end is in the sample are turned, and only if all of them stays in it, so
that every middle is complete; and draws need no generator whose state depends on what was read before.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schemas.tokens import TokenOrder
from stages.stream.corpus import Tokens
from stages.stream.feistel import Words, named_keys, numbered_keys
from stages.stream.order import Indices
from stages.stream.vocabulary import MIDDLE_TOKENS, special_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUM_MARKS = 3  # tokens by which a document grows


class Marks(NamedTuple):
    """Ids of the special tokens."""

    prefix: int
    middle: int
    suffix: int
    end: int


@dataclass(frozen=True)
class Middle:
    """Which documents are turned, and how: a `fraction` of those of `sources`."""

    fraction: float
    sources: frozenset[str]
    seed: int
    marks: Marks

    def turn(self, tokens: Tokens, starts: Indices, position: int, limit: int) -> tuple[Tokens, Indices]:
        """A sample with some of its documents turned: at most `limit` tokens, and where its documents start.

        `tokens` is the sample, `starts` where documents (or rests of them) begin in it, ascending from 0; `position` is
        the sample's in the run.
        """
        keys = numbered_keys(named_keys(f"{self.seed}/middle"), np.array([position]))
        words, ends = numbered_keys(keys, starts), np.append(starts[1:], len(tokens))
        turned, moved, grown = [], starts.copy(), 0
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            moved[i] = start + grown
            document = tokens[start:end]
            if self._fits(document, words[0, i], limit - end - grown):
                document = self._turned(document[:-1], words[1:4, i])
                grown += NUM_MARKS
            turned.append(document)
        return np.concatenate(turned)[:limit], moved[moved < limit]

    def _fits(self, document: Tokens, word: np.uint64, room: int) -> bool:
        drawn = bool(_fraction(word) < self.fraction)
        return drawn and room >= NUM_MARKS and len(document) > 1 and int(document[-1]) == self.marks.end

    def _turned(self, body: Tokens, words: Words) -> Tokens:
        low, high = sorted(int(_fraction(w) * (len(body) + 1)) for w in words[1:])
        prefix, middle, suffix = np.split(body, [low, high])
        before, between, after, end = ([mark] for mark in self.marks)
        if _fraction(words[0]) < 0.5:
            return np.concatenate([before, prefix, after, suffix, between, middle, end])
        return np.concatenate([before, after, suffix, between, prefix, middle, end])


def open_middle(order: TokenOrder, tokenizer: "Tokenizer", eod_id: int) -> Middle | None:
    """What an order asks for, if it does; SettingsError if the tokenizer lacks a special token that it needs."""
    if not order.middle_fraction or not order.middle_sources:
        return None
    prefix, middle, suffix = (special_id(tokenizer, token) for token in MIDDLE_TOKENS)
    marks = Marks(prefix, middle, suffix, eod_id)
    return Middle(order.middle_fraction, frozenset(order.middle_sources), order.seed, marks)


def _fraction(word: np.uint64) -> float:
    """A random word as a number in [0, 1)."""
    return float(word >> np.uint64(11)) / (1 << 53)
