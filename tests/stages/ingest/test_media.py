"""Media types by content."""

import gzip
import io
import zipfile

import pytest

from stages.ingest import media

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def package(first: str) -> bytes:
    """A zip file with one member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(first, "application/epub+zip")
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "name", "expected"),
    [
        (b"%PDF-1.7\n", "a.pdf", media.PDF),
        (b"%PDF-1.7\n", "a.txt", media.PDF),
        (b"\xef\xbb\xbf\n%PDF-1.4", "a.pdf", media.PDF),
        (b"Plain words.", "a.pdf", media.TEXT),
        (b"Plain words.", "README", media.TEXT),
        (b"# Head\n\nWords.", "a.md", media.MARKDOWN),
        ("Grüße".encode("latin-1"), "a.txt", media.TEXT),
        ("Grüße".encode("utf-16"), "a.txt", media.TEXT),
        (b'{"text": "a"}\n{"text": "b"}\n', "a.jsonl", media.JSON),
        (b'[\n {"text": "a"}]', "a.dat", media.JSON),
        (b"{curly} words", "a.txt", media.TEXT),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"print(1)\n", "a.py", "text/x-py"),
        (b"PAR1\x15\x04", "a.jsonl", media.PARQUET),
        (PNG, "a.pdf", "image/png"),
        (b"MZ\x90\x00\x03", "a.exe", "application/x-msdownload"),
        (bytes(range(256)) * 4, "a.bin", media.BINARY),
        (b"<?xml version='1.0'?><article><front/></article>", "a.xml", media.JATS),
        (b'<!DOCTYPE article PUBLIC "-//NLM//DTD JATS" "x.dtd">\n<article>', "a.txt", media.JATS),
        (b"<?xml version='1.0'?><book/>", "a.xml", media.XML),
        (b"<!DOCTYPE html><html>", "a", media.HTML),
        (b"<html lang='en'>", "a.txt", media.HTML),
        (gzip.compress(b"x", mtime=0), "a.gz", media.GZIP),
        (package("a.txt"), "a.zip", media.ZIP),
        (package("mimetype"), "a.epub", "application/x-package"),
        (package("[Content_Types].xml"), "a.docx", "application/x-package"),
    ],
)
def test_content_decides_before_the_extension(head: bytes, name: str, expected: str) -> None:
    """A file is what its bytes say, whatever it is called; only kinds of text are told apart by extension."""
    assert media.sniff(head, name) == expected


def test_text_may_have_a_few_control_characters() -> None:
    """A stray control character leaves a text a text; a NUL, or many, do not."""
    words = b"words and words " * 20
    assert media.looks_like_text(words + b"\x01")
    assert not media.looks_like_text(words + b"\0")
    assert not media.looks_like_text(words + b"\x01" * 20)


def test_an_archive_of_papers_is_no_paper() -> None:
    """A PDF that stands undeflated at the beginning of a zip or tar file does not make a PDF of it; bytes before a header do not unmake one."""
    paper = b"%PDF-1.7\n" + bytes(600)
    assert media.sniff(b"PK\x03\x04" + bytes(40) + paper, "papers.zip") == "application/zip"
    tar = b"a.pdf".ljust(257, b"\0") + b"ustar"
    assert media.sniff(tar.ljust(512, b"\0") + paper, "papers.tar") == "application/x-tar"
    assert media.sniff(b"\r\n\r\n" + paper, "paper.pdf") == "application/pdf"
