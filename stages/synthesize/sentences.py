"""Sentences of a scientific text, by rule.

A full stop ends a sentence when white space and something that can begin a sentence follow, and the word before it is
neither a known abbreviation nor a single capital letter (an initial, or the genus in "E. coli") unless it is the unit
of a number ("at 300 K. The"). Stops inside numbers
are never followed by white space, so decimals are safe. It gives up what such rules give up: a sentence that ends in
one capital letter ("... rich in vitamin C. The ...") is not parted from the next.
"""

import re
from collections.abc import Iterator

ABBREVIATED = """al approx bp ca cf co corp dept dr ed eds eq eqs e.g etc ex fig figs i.e inc incl jr lat lit ltd max min
    mol mr mrs ms no nos nr p pp prof ref refs resp sec sect sp spp sr st subsp suppl tab temp u.s u.k var viz vol vs wt
    jan feb mar apr jun jul aug sep sept oct nov dec"""
ABBREVIATIONS = frozenset(ABBREVIATED.split())
PARAGRAPH = re.compile(r"(?:\r?\n[ \t]*){2,}|\f")
NAMED_PARTS = (
    "abstract|summary|introduction|background|(?:materials and )?methods|experimental(?: section| methods)?|"
    "results(?: and discussion)?|discussion|conclusions?|acknowledge?ments?|funding|data availability"
)
HEADING = re.compile(
    rf"^(?:#{{1,6}}\s+.+|\d{{1,2}}(?:\.\d{{1,2}})*\.?\s+[A-Z][\w ,:&()-]{{2,70}}|(?i:{NAMED_PARTS})[.:]?)[ \t]*$",
    re.MULTILINE,
)
BOUNDARY = re.compile(r"[.!?][\"'”’)\]]*(?P<space>\s+)(?=[\"'“‘(\[]*[A-Z0-9À-ÖØ-ÞΑ-Ω])")
LAST_WORD = re.compile(r"(?P<counted>[\d°]\s?|[/·])?\b(?P<word>[^\W\d][\w.]*)$")
BACK_MATTER = re.compile(
    r"^[ \t]*#*[ \t]*(?:\d+\.?[ \t]*)?(?:references|bibliography|literature cited|works cited)[ \t]*:?[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
BACK_MATTER_FROM = 0.3  # a line "References" in the first part of a text is a table of contents, not the list itself


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, white space made single; joined by spaces they are the paragraph again."""
    text = " ".join(paragraph.split())
    starts = [0, *(m.end("space") for m in BOUNDARY.finditer(text) if not _is_abbreviation(text, m.start()))]
    return [s for a, b in zip(starts, [*starts[1:], len(text)], strict=True) if (s := text[a:b].strip())]


def passages(text: str) -> Iterator[list[str]]:
    """The sentences of each paragraph before the list of references; headings are not sentences, and end a paragraph.

    A heading is a line `# ...`, a short numbered line ("2.1 Synthesis"), or a part's usual name on its own line.
    """
    for block in PARAGRAPH.split(body(text)):
        for piece in HEADING.split(block):
            if sentences := split_sentences(piece):
                yield sentences


def body(text: str) -> str:
    """The text before its list of references."""
    for match in BACK_MATTER.finditer(text):
        if match.start() >= BACK_MATTER_FROM * len(text):
            return text[: match.start()]
    return text


def _is_abbreviation(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` belongs to the word before it."""
    if text[stop] != ".":
        return False
    match = LAST_WORD.search(text, max(0, stop - 24), stop)  # 24: longer than any abbreviation
    if match is None or match["counted"]:  # "at 4 °C.", "for 5 min." and "2 g/L." end with a unit
        return False
    word = match["word"]
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper())
