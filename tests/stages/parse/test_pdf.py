"""Pages of real PDFs: order, boxes, damage."""

import random
from pathlib import Path

import pikepdf
import pytest

from stages.parse import pdf
from stages.parse.layout import document_text
from stages.parse.lines import LINE_HYPHEN, Page
from stages.parse.worker import ReadTask, Refused, Text, Unfinished, work
from tests.stages.parse.conftest import WORDS, rewritten, scan, shifted, typeset


def pages_of(path: Path) -> list[Page]:
    """All pages of a PDF."""
    document = pdf.open_pdf(str(path))
    return [pdf.read_page(document, i) for i in range(len(document))]


def written(tmp_path: Path, data: bytes) -> Path:
    """The bytes as a file."""
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    return path


def task(path: Path, *, ocr: bool = False, max_pages: int = 3000, skip: dict[int, str] | None = None) -> ReadTask:
    """Read a PDF."""
    return ReadTask(0, "application/pdf", str(path), None, max_pages, 20, ocr, skip or {})


def answer(task: ReadTask) -> object:
    """The last thing that a worker says."""
    return list(work(task))[-1]


@pytest.fixture(scope="module")
def two_columns() -> bytes:
    """Three pages in two columns, hyphenated."""
    return typeset("#set heading(numbering: none)\n= On heat\n" + "\n\n".join([WORDS] * 16), columns=2)


def test_two_columns_come_back_word_for_word(tmp_path: Path, two_columns: bytes) -> None:
    """Text typeset in two columns with hyphens and ligatures comes back with all its words in order, on all pages."""
    pages = pages_of(written(tmp_path, two_columns))
    assert len(pages) > 2
    assert any(LINE_HYPHEN in page.text for page in pages)
    text, spans = document_text(pages)
    assert text.split() == ("On heat " + WORDS * 16).split()
    assert len(spans) == len(pages)
    assert {p.verdict for p in pages} == {"good"}


def test_a_box_is_where_the_line_is(tmp_path: Path) -> None:
    """A line's box is where it was set: 100 points from the left, its top 200 from the top; its font has 12."""
    data = typeset('#set page("a5", margin: 0pt)\n#place(dx: 100pt, dy: 200pt, text(12pt)[Here is the line.])')
    (line,) = pages_of(written(tmp_path, data))[0].lines
    assert line.left == pytest.approx(100, abs=3)
    assert line.top == pytest.approx(595.28 - 200, abs=4)
    assert line.size == pytest.approx(12, abs=0.01)
    assert line.right - line.left == pytest.approx(85, abs=12)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pages(tmp_path: Path, two_columns: bytes, degrees: int) -> None:
    """A page that only its `/Rotate` entry turns reads as if it were not turned; one that is set sideways, as shown."""

    def turn(opened: pikepdf.Pdf) -> None:
        for page in opened.pages:
            page.rotate(degrees, relative=False)

    straight = document_text(pages_of(written(tmp_path, two_columns)))[0]
    assert document_text(pages_of(written(tmp_path, rewritten(two_columns, turn))))[0] == straight
    sideways = typeset(f"#set page(height: auto)\n#rotate({-degrees}deg, reflow: true, box(width: 80mm)[{WORDS}])")
    page = pages_of(written(tmp_path, rewritten(sideways, turn)))[0]
    tops = [line.top for line in page.lines]
    assert tops == sorted(tops, reverse=True)
    assert all(line.right - line.left > 5 * line.size for line in page.lines[:-1])


def test_letters_of_formulas(tmp_path: Path) -> None:
    """Italic letters of formulas lie beyond U+FFFF; they come back, beside words with hyphens and in the right boxes."""
    data = typeset("Bragg's law $n lambda = 2 d sin theta$ holds. " + WORDS * 2)
    pages = pages_of(written(tmp_path, data))
    text, _ = document_text(pages)
    assert "nλ = 2d sin" in text
    assert text.split(" holds. ")[1].split() == (WORDS * 2).split()
    assert pages[0].lines[0].text.startswith("Bragg")


def test_a_truncated_file(tmp_path: Path, two_columns: bytes) -> None:
    """A PDF cut off anywhere gives what can be recovered or is refused as damaged; nothing else, and no crash."""
    seen = set()
    for share in (0.05, 0.3, 0.6, 0.9, 0.97, 0.999):
        result = answer(task(written(tmp_path, two_columns[: int(len(two_columns) * share)])))
        assert isinstance(result, Text | Refused)
        seen.add(result.reason if isinstance(result, Refused) else "text")
    assert "damaged PDF" in seen
    assert seen <= {"damaged PDF", "no pages", "no text", "text"}


def test_a_lost_cross_reference_is_repaired(tmp_path: Path, two_columns: bytes) -> None:
    """A PDF whose table of contents for machines is overwritten still gives all its words."""
    classic = rewritten(two_columns, lambda _: None, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    start = classic.rindex(b"xref\n0")
    broken = classic[:start] + b"?" * 200 + classic[start + 200 :]
    result = answer(task(written(tmp_path, broken)))
    assert isinstance(result, Text)
    assert result.text.split()[-20:] == WORDS.split()[-20:]


def test_encrypted_files(tmp_path: Path, two_columns: bytes) -> None:
    """A password that a reader needs is a reason; one that only the owner needs is none."""
    for user, expected in (("secret", Refused("encrypted", "opens only with a password")), ("", None)):
        locked = rewritten(two_columns, lambda _: None, encryption=pikepdf.Encryption(owner="owner", user=user))
        result = answer(task(written(tmp_path, locked)))
        assert result == expected if expected else isinstance(result, Text)


def test_no_pages(tmp_path: Path, two_columns: bytes) -> None:
    """A PDF without pages is refused as such, whatever was wrong with the document before it."""
    pikepdf.new().save(tmp_path / "empty.pdf")
    locked = rewritten(two_columns, lambda _: None, encryption=pikepdf.Encryption(owner="owner", user="secret"))
    for before in (two_columns, locked, two_columns[:3000]):
        answer(task(written(tmp_path, before)))
        assert answer(task(tmp_path / "empty.pdf")) == Refused("no pages", "")


def test_heads_feet_and_tables_as_typeset(tmp_path: Path) -> None:
    """Heads with page numbers and feet go, a table keeps its rows, and the text around it stays in paragraphs."""
    markup = (
        "#set page(header: context [Journal of Heat 12 #h(1fr) #counter(page).display()], footer: [Demonstration])\n"
        "= On the heat of metals\n\n" + WORDS * 3 + "\n\n"
        "#table(columns: (1fr, 1fr, 1fr), stroke: none, [Metal], [k], [Unit], [Cu], [401], [W/(m K)], [Ag], [429], [W/(m K)])\n\n"
        + "\n\n".join(f"Paragraph {n}. " + WORDS for n in range(12))
    )
    result = answer(task(written(tmp_path, typeset(markup))))
    assert isinstance(result, Text)
    assert len(result.pages) >= 3
    assert "Journal of Heat" not in result.text
    assert "Demonstration" not in result.text
    parts = result.text.split("\n\n")
    assert parts[0] == "On the heat of metals"
    assert parts[1] == (WORDS * 3).strip()
    assert parts[2].split("\n") == ["Metal k Unit", "Cu 401 W/(m K)", "Ag 429 W/(m K)"]
    assert parts[3:] == [f"Paragraph {n}. {WORDS}".strip() for n in range(12)]


def test_random_bytes_never_crash(tmp_path: Path, two_columns: bytes) -> None:
    """Thirty PDFs with random bytes overwritten give text or a reason, each of them."""
    random.seed(7)
    reasons = set()
    for _ in range(30):
        data = bytearray(two_columns)
        for _ in range(random.randint(1, 60)):
            data[random.randrange(len(data))] = random.randrange(256)
        result = answer(task(written(tmp_path, bytes(data))))
        assert isinstance(result, Text | Refused)
        reasons.add(result.reason if isinstance(result, Refused) else "text")
    assert "text" in reasons
    assert reasons <= {"text", "no text", "damaged PDF", "no pages", "encrypted"}


def test_only_headers_and_noise(tmp_path: Path) -> None:
    """Noise after a PDF's header is damaged."""
    random.seed(8)
    result = answer(task(written(tmp_path, b"%PDF-1.7\n" + random.randbytes(5000))))
    assert isinstance(result, Refused)
    assert result.reason == "damaged PDF"


def test_three_hundred_pages(tmp_path: Path) -> None:
    """A file of 300 pages is read to its end, with 300 spans and its page numbers gone; the limit leaves pages out by name."""
    markup = '#set page(numbering: "1")\n#for n in range(300) [#(n + 1) sheep were counted on this page. #pagebreak(weak: true)]'
    path = written(tmp_path, typeset(markup))
    result = answer(task(path))
    assert isinstance(result, Text)
    assert [s.page for s in result.pages] == list(range(1, 301))
    for span in (result.pages[0], result.pages[149], result.pages[299]):
        shown = result.text[span.start : span.end].strip()
        assert shown == f"{span.page} sheep were counted on this page."
    first = answer(task(path, max_pages=10))
    assert isinstance(first, Text)
    assert [s.parser for s in first.pages] == ["pypdfium2"] * 10 + ["none: page limit"] * 290
    assert first.text == result.text[: result.pages[9].end].strip()


def test_pages_that_were_lost_are_left_out(tmp_path: Path, two_columns: bytes) -> None:
    """A page to skip has an empty span that says why, and the others have their text."""
    result = answer(task(written(tmp_path, two_columns), skip={2: "crashed"}))
    assert isinstance(result, Text)
    assert (result.pages[1].parser, result.pages[1].end) == ("none: crashed", result.pages[1].start)
    assert result.pages[2].end > result.pages[2].start


def test_what_needs_ocr(tmp_path: Path, two_columns: bytes) -> None:
    """Scans and broken font maps are found; without an OCR engine they are no text, and nonsense is not passed on."""
    for data, verdict in ((scan(two_columns), "no text"), (shifted(two_columns, 3), "garbled")):
        path = written(tmp_path, data)
        unfinished = answer(task(path, ocr=True))
        assert isinstance(unfinished, Unfinished)
        assert {p.verdict for p in unfinished.pages} == {verdict}
        refused = answer(task(path))
        assert isinstance(refused, Refused)
        assert refused.reason == "no text"


def test_titles(tmp_path: Path) -> None:
    """The metadata's title is taken if it is one; else the largest line."""
    body = "= Large words of a heading\n" + WORDS
    for title, expected in (
        ("On the heat of metals", "On the heat of metals"),
        ("Microsoft Word - draft 3", "Large words of a heading"),
        ("draft.doc", "Large words of a heading"),
        ("", "Large words of a heading"),
    ):
        result = answer(task(written(tmp_path, typeset(f'#set document(title: "{title}")\n' + body))))
        assert isinstance(result, Text)
        assert result.title == expected
