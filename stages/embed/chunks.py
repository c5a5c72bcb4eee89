"""Cutting a document into chunks that a model reads whole."""

import re

SPACE = re.compile(r"\s")
MAX_WORD = 50  # characters: a cut moves to the end of a word no longer than this


def chunks(text: str, size: int, most: int) -> list[str]:
    """At most `most` pieces of about `size` characters, spread evenly from the beginning on; none of a text without words."""
    text = text.strip()
    count = -(-len(text) // size)
    picked = min(count, most)
    found = []
    for number in (place * count // picked for place in range(picked)):
        start, end = (_end_of_word(text, len(text) * n // count) for n in (number, number + 1))
        found.append(text[start:end].strip())
    return [piece for piece in found if piece]


def _end_of_word(text: str, place: int) -> int:
    if place in (0, len(text)):
        return place
    space = SPACE.search(text, place, place + MAX_WORD)
    return space.start() if space else place
