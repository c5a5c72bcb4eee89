"""Is a page's text layer usable? Rules on its characters, and letter statistics for what looks like text but is not.

A broken font map gives private-use or replacement characters, or other letters than the page shows; a scan has no text,
or what a bad reader wrote behind the picture. On 49 labelled PDFs (220 pages) the rules find every broken page and no
good one. What is given up: a page of numbers is judged by its characters only.
"""

import unicodedata
from typing import Literal

from stages.parse.letters import surprise
from stages.parse.lines import LINE_HYPHEN, Page

MIN_VISIBLE = 10  # characters; a page with fewer has no text
SPARSE_VISIBLE = 150  # a page number or a caption on a page that is a picture
PICTURE_SHARE = 0.5  # of the page, from which a sparse page is a picture
SCAN_SHARE = 0.8  # of the page, from which text lies behind a picture of itself
MAX_BAD_SHARE = 0.25
GARBLED_BITS = 6.6  # a trigram: Polish under an English model has 5.9, shifted letters 7.2 and more
SUSPECT_BITS = 3.3  # on scans: clean readings have 2.3 to 3.1, bad ones 3.6 and more

Verdict = Literal["good", "empty", "no text", "garbled", "suspect"]


def judge(page: Page, image_share: float, map_errors: float, *, has_objects: bool) -> Verdict:
    """What a page's lines are worth. `map_errors` is the share of characters without a Unicode value."""
    text = page.text
    visible = sum(not c.isspace() for c in text)
    if visible < MIN_VISIBLE or (visible < SPARSE_VISIBLE and image_share > PICTURE_SHARE):
        return "no text" if has_objects else "empty"
    if max(bad_share(text), map_errors) > MAX_BAD_SHARE:
        return "garbled"
    bits = surprise(text) or 0.0
    if bits > GARBLED_BITS:
        return "garbled"
    return "suspect" if image_share > SCAN_SHARE and bits > SUSPECT_BITS else "good"


def bad_share(text: str) -> float:
    """The share of visible characters that stand for nothing: control, private-use, unassigned, U+FFFD."""
    visible = [c for c in text if not c.isspace() and c != LINE_HYPHEN]
    bad = sum(c == "\ufffd" or unicodedata.category(c) in {"Cc", "Co", "Cn", "Cs"} for c in visible)
    return bad / len(visible) if visible else 0.0


def better(layer: Page, read: Page) -> Page:
    """The text layer or what OCR read: fewer surprising letters win, unless the reader saw much less."""
    ours, theirs = surprise(layer.text), surprise(read.text)
    if layer.verdict in {"good", "suspect"} and len(read.text) < 0.3 * len(layer.text):
        return layer
    if layer.verdict == "suspect" and ours is not None and theirs is not None and ours <= theirs:
        return layer
    if not read.lines and layer.verdict == "no text":
        return layer
    return read
