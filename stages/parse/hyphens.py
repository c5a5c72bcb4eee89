"""Words that a line's end cut in two: with or without the hyphen, as the rest of the document has them.

`Crea-tive` becomes `Creative`; `start-to-finish` keeps its hyphen where the document writes it so elsewhere, or where a
part is no lower-case word. What is given up: a compound that occurs once, at a line's end, loses its hyphen.
"""

import re
from functools import cached_property

from stages.parse.lines import LINE_HYPHEN

SOFT_HYPHEN = "\u00ad"
HYPHENS = "-\u2010" + SOFT_HYPHEN + LINE_HYPHEN
GOES_ON = re.compile(r"-?[^\W\d_]")  # a word, before or after
WORD = re.compile(r"[^\W_]+")
CUT = re.compile(
    rf"[{LINE_HYPHEN}\u00ad]\s*([^\W_]*)"
)  # no word before it: looking for one takes a line's length squared
ENDS_CUT = re.compile(rf"([^\W_]+)[{HYPHENS}]$")


class Joiner:
    """Joins cut words by how often one document has them whole."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _lower(self) -> str:
        return self._text.lower()

    def count(self, word: str) -> int:
        """How often the document has a word in lower case, one with hyphens being one word."""
        text, found, at = self._lower, 0, self._lower.find(word)
        while at >= 0:
            end = at + len(word)
            found += not (GOES_ON.match(text, end) or GOES_ON.match(text[max(at - 2, 0) : at][::-1]))
            at = text.find(word, end)
        return found

    @cached_property
    def _hyphens(self) -> frozenset[str]:
        """What stands next to the document's hyphens: the two characters before, and the two behind."""
        text, found, at = self._lower, set(), self._lower.find("-")
        while at >= 0:
            found.add(text[max(at - 2, 0) : at + 3])
            at = text.find("-", at + 1)
        return frozenset(found)

    def _may_have(self, head: str, tail: str) -> bool:
        """Whether two parts may stand in the document with a hyphen between them: most do not, and to count takes long."""
        near = f"{head[-2:]}-{tail[:2]}".lower()
        return len(near) < 5 or near in self._hyphens

    def word(self, head: str, tail: str) -> str:
        """`head` and `tail` as one word, or as two with a hyphen."""
        if not (head and tail and tail.islower() and head.isalpha() and tail.isalpha()):
            return f"{head}-{tail}"
        joined, compound = f"{head}{tail}".lower(), f"{head}-{tail}".lower()
        is_compound = self._may_have(head, tail) and (times := self.count(compound)) > 0 and times > self.count(joined)
        return f"{head}-{tail}" if is_compound else f"{head}{tail}"

    def inside(self, text: str) -> str:
        """Join the words that PDFium marks as cut inside a line."""
        if LINE_HYPHEN not in text and SOFT_HYPHEN not in text:
            return text
        pieces: list[str] = []
        at = 0
        for cut in CUT.finditer(text):
            before = text[at : cut.start()]
            start = len(before) - (word.end() if (word := WORD.match(before[::-1])) else 0)
            pieces += (before[:start], self.word(before[start:], cut[1]))
            at = cut.end()
        return "".join(pieces) + text[at:]

    def across(self, first: str, second: str) -> str | None:
        """What replaces the hyphenated end of `first` before `second` follows at once; `None` if it is not cut."""
        if first[-1:] not in HYPHENS:
            return None
        end, begin = ENDS_CUT.search(first), WORD.match(second)
        if end is None or begin is None:
            return None
        joined = self.word(end[1], begin[0])
        return first[: end.start()] + joined[: len(joined) - len(begin[0])]
