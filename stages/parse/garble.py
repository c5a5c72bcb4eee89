"""Is a page's text layer usable? Rules on its characters, and letter statistics for what looks like text but is not.

A broken font map gives private-use or replacement characters, or other letters than the page shows; a scan has no text,
or what a bad reader wrote behind the picture. On 49 labelled PDFs (220 pages) the rules find every broken page and no
good one. What is given up: a page of numbers is judged by its characters only.
"""

from typing import TYPE_CHECKING, Literal

from stages.parse.letters import surprise
from stages.parse.lines import Page

if TYPE_CHECKING:
    from stages.parse.features import Features

MIN_VISIBLE = 10  # characters; a page with fewer has no text
SPARSE_VISIBLE = 150  # a page number or a caption on a page that is a picture
PICTURE_SHARE = 0.5  # of the page, from which a sparse page is a picture
SCAN_SHARE = 0.8  # of the page, from which text lies behind a picture of itself
MAX_BAD_SHARE = 0.25
GARBLED_BITS = 6.6  # a trigram: Polish under an English model has 5.9, shifted letters 7.2 and more
SUSPECT_BITS = 3.3  # on scans: clean readings have 2.3 to 3.1, bad ones 3.6 and more

Verdict = Literal["good", "empty", "no text", "garbled", "suspect"]


def judge(page: "Features", *, has_objects: bool) -> Verdict:
    """What a page's text layer is worth."""
    if page.num_chars < MIN_VISIBLE or (page.num_chars < SPARSE_VISIBLE and page.image_share > PICTURE_SHARE):
        return "no text" if has_objects else "empty"
    if max(page.bad_share, page.map_errors) > MAX_BAD_SHARE or page.bits > GARBLED_BITS:
        return "garbled"
    return "suspect" if page.image_share > SCAN_SHARE and page.bits > SUSPECT_BITS else "good"


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
