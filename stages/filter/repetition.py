"""How much of a text repeats itself: the measures of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1).

Shares of characters, not counting white space between words. A repeat is every occurrence after the first; words in
overlapping repeats count once. Words are split at white space and compared as they are.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

Ngram = tuple[str, ...]


def duplicate_fraction(pieces: Iterable[str]) -> float:
    """Return the share of the characters of lines, or paragraphs, that repeat an earlier one.

    Gopher also limits the share of the lines themselves; a table with a cell a line has many that are alike and short.
    """
    pieces = [p for piece in pieces if (p := piece.strip())]
    total = sum(map(len, pieces))
    return 1 - sum(map(len, set(pieces))) / total if total else 0.0


def top_ngram_fraction(words: Sequence[str], size: int) -> float:
    """Return the share of characters in the commonest n-gram that occurs twice or more; the longest, if several do."""
    counts = Counter(_ngrams(words, size))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == most)
    return min(1.0, longest * most / sum(map(len, words)))


def duplicate_ngram_fractions(words: Sequence[str], sizes: Sequence[int]) -> list[float]:
    """Return for each size, a run of whole numbers, the share of characters in n-grams that occurred before.

    An n-gram can only repeat where its first n-1 words repeat, so each size looks at the places that the last one left.
    """
    total = sum(map(len, words)) or 1
    places: Iterable[int] = range(len(words))
    grams = list(_ngrams(words, sizes[0]))
    fractions = []
    for size in sizes:
        counts = Counter(grams)
        repeats = [(place, gram) for place, gram in zip(places, grams, strict=False) if counts[gram] > 1]
        fractions.append(_repeated_characters(words, repeats, size) / total)
        places = [place for place, _ in repeats if place + size < len(words)]
        grams = [tuple(words[place : place + size + 1]) for place in places]
    return fractions


def _repeated_characters(words: Sequence[str], grams: list[tuple[int, Ngram]], size: int) -> int:
    seen: set[Ngram] = set()
    covered: set[int] = set()
    for place, gram in grams:
        if gram in seen:
            covered.update(range(place, place + size))
        seen.add(gram)
    return sum(len(words[i]) for i in covered)


def _ngrams(words: Sequence[str], size: int) -> Iterable[Ngram]:
    return zip(*(islice(words, place, None) for place in range(size)), strict=False)
