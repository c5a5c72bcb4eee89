"""Words that a line's end cut in two: with or without the hyphen, as the rest of the document has them.

`Crea-tive` becomes `Creative`; `start-to-finish` keeps its hyphen where the document writes it so elsewhere, or where a
part is no lower-case word. What is given up: a compound that occurs once, at a line's end, loses its hyphen.
"""

import re
from collections import Counter
from functools import cached_property

from stages.parse.lines import LINE_HYPHEN

SOFT_HYPHEN = "\u00ad"
HYPHENS = "-\u2010" + SOFT_HYPHEN + LINE_HYPHEN
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
CUT = re.compile(rf"([^\W_]*)[{LINE_HYPHEN}\u00ad]\s*([^\W_]*)")
ENDS_CUT = re.compile(rf"([^\W_]+)[{HYPHENS}]$")
BEGINS = re.compile(r"[^\W_]+")


class Joiner:
    """Joins cut words with the counts of one document's whole words."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _lower(self) -> str:
        return self._text.lower()

    @cached_property
    def words(self) -> Counter[str]:
        """How often the document has each word, in lower case."""
        return Counter(WORD.findall(self._lower))

    def word(self, head: str, tail: str) -> str:
        """`head` and `tail` as one word, or as two with a hyphen."""
        if not (head and tail and tail.islower() and head.isalpha() and tail.isalpha()):
            return f"{head}-{tail}"
        joined, compound = f"{head}{tail}".lower(), f"{head}-{tail}".lower()
        is_compound = (
            compound in self._lower and self.words[compound] > self.words[joined]
        )  # words take a while to count
        return f"{head}-{tail}" if is_compound else f"{head}{tail}"

    def inside(self, text: str) -> str:
        """Join the words that PDFium marks as cut inside a line."""
        if LINE_HYPHEN not in text and SOFT_HYPHEN not in text:
            return text
        return CUT.sub(lambda m: self.word(m[1], m[2]), text)

    def across(self, first: str, second: str) -> str | None:
        """What replaces the hyphenated end of `first` before `second` follows at once; `None` if it is not cut."""
        if first[-1:] not in HYPHENS:
            return None
        end, begin = ENDS_CUT.search(first), BEGINS.match(second)
        if end is None or begin is None:
            return None
        joined = self.word(end[1], begin[0])
        return first[: end.start()] + joined[: len(joined) - len(begin[0])]
