"""The text that duplicates are looked for in: what parsers and publishers do differently is taken out.

Compatibility forms are folded (Unicode NFKC: ligatures, full-width letters, superscripts), words hyphenated at the end
of a line are joined, white space is one space, case is folded. It gives up: a compound that breaks at its own hyphen
loses it, and 10² is 102, in all copies alike.
"""

import re
import unicodedata

HYPHENATION = re.compile(r"(?<=[^\W\d_])(?:-|\u2010|\u00ad)[ \t]*\r?\n\s*(?=[^\W\d_])")
INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff]")  # soft hyphen, zero-width characters, byte order mark
WORD = re.compile(r"\w+")


def normalize(text: str) -> str:
    """Fold a document's text so that copies by other parsers are nearer to it."""
    text = HYPHENATION.sub("", text)
    text = unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold()
    return " ".join(text.split())


def words(normalized: str) -> list[str]:
    """Cut a normalized text into runs of letters and digits; punctuation does not count."""
    return WORD.findall(normalized)
