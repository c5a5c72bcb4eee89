"""Scores of a text against its truth by words and characters: BLEU, ROUGE-L, accuracies, order.

BLEU (Papineni et al., ACL 2002) with n-grams up to 4 and the brevity penalty, unsmoothed; ROUGE-L (Lin, 2004) as F1 of
the longest common subsequence; accuracies are 1 - Levenshtein distance / length of the truth, not below 0; `nid` is the
normalized indel similarity of two texts, which falls as text is moved. Distances are computed on Python's long integers,
64 cells at a time (Myers, JACM 1999; Hyyrö, 2004): 0.1 s for a page of 5,000 characters. What is given up: speed on
whole books, where the time goes with the product of both lengths.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence

TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")
ORDER = 4


def tokens(text: str) -> list[str]:
    """Words, and every sign by itself, in Unicode's compatibility form."""
    return TOKEN.findall(unicodedata.normalize("NFKC", text))


def bleu(truth: str, text: str) -> float:
    """BLEU-4 of a text against its truth, from 0 to 1; lower orders where the truth has fewer than four tokens."""
    reference, found = tokens(truth), tokens(text)
    if not found or not reference:
        return float(not found and not reference)
    logs = 0.0
    order = min(ORDER, len(reference), len(found))
    for n in range(1, order + 1):
        right = (_grams(reference, n) & _grams(found, n)).total()
        if right == 0:
            return 0.0
        logs += math.log(right / (len(found) - n + 1))
    return math.exp(logs / order + min(0.0, 1 - len(reference) / len(found)))


def rouge_l(truth: str, text: str) -> float:
    """F1 of the longest common subsequence of words, from 0 to 1."""
    reference, found = tokens(truth), tokens(text)
    if not reference or not found:
        return float(not found and not reference)
    return 2 * common(reference, found) / (len(reference) + len(found))


def character_accuracy(truth: str, text: str) -> float:
    """1 - the share of the truth's characters that have to be mended; white space counts as one space."""
    return _accuracy(" ".join(truth.split()), " ".join(text.split()))


def word_accuracy(truth: str, text: str) -> float:
    """1 - the share of the truth's words that have to be mended."""
    return _accuracy(tokens(truth), tokens(text))


def nid(truth: str, text: str) -> float:
    """Twice the longest common subsequence of characters over both lengths: how far the order is right."""
    reference, found = " ".join(truth.split()), " ".join(text.split())
    total = len(reference) + len(found)
    return 2 * common(reference, found) / total if total else 1.0


def _accuracy(reference: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    if not reference:
        return float(not found)
    return max(0.0, 1 - distance(reference, found) / len(reference))


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence (Hyyrö 2004)."""
    places, full = _places(first), (1 << len(first)) - 1
    state = full
    for item in second:
        matches = state & places.get(item, 0)
        state = ((state + matches) | (state - matches)) & full
    return len(first) - state.bit_count()


def distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Levenshtein distance (Myers 1999, as Hyyrö 2003 has it)."""
    if not first:
        return len(second)
    places, full, last = _places(first), (1 << len(first)) - 1, 1 << (len(first) - 1)
    up, down, found = full, 0, len(first)
    for item in second:
        matches = places.get(item, 0)
        diagonal = (((matches & up) + up) ^ up) | matches | down
        above = down | ~(diagonal | up)
        below = up & diagonal
        found += bool(above & last) - bool(below & last)
        above = (above << 1) | 1
        up = ((below << 1) | ~(diagonal | above)) & full
        down = above & diagonal & full
    return found


def _places(items: Sequence[Hashable]) -> dict[Hashable, int]:
    """For every item a bit at each place where it stands."""
    found: dict[Hashable, int] = {}
    for at, item in enumerate(items):
        found[item] = found.get(item, 0) | 1 << at
    return found
