"""Articles in other formats than PDF: Markdown, JATS XML, JSON Lines and a zip archive; and the sidecars of files."""

import gzip
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from examples.document import Article, Block, Equation, Figure, Heading, Paragraph, Table, numbered, plain_text

LICENCE_URLS = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


def sidecar(article: Article) -> bytes:
    """What is known of a file: title, licence, DOI (none, as nothing here is published)."""
    facts = {"title": article.title, "licence": article.licence, "doi": None}
    return (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode()


def markdown(article: Article) -> str:
    """The article as Markdown, with pipe tables and equations as code."""
    labels = article.labels
    parts = [
        f"# {article.title}",
        article.byline,
        f"*{article.notice}*",
        f"{labels['licence']}: {article.licence}",
        f"## {labels['abstract']}\n\n{article.abstract.text}",
        f"{labels['keywords']}: {', '.join(article.keywords)}",
        *(_markdown_block(block, labels) for block in article.body),
        "\n".join([f"## {labels['references']}", "", *(f"- {item}" for item in numbered(article.references))]),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block, labels: Mapping[str, str]) -> str:
    match block:
        case Heading(number, text):
            return f"## {number} {text}"
        case Paragraph():
            return block.text
        case Equation(plain=plain, number=number):
            return f"    {plain}    ({number})"
        case Table(number, caption, head, rows):
            lines = [head, ("---",) * len(head), *rows]
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            return f"{labels['table']} {number}: {caption}\n\n{table}"
        case Figure(number=number, caption=caption):
            return f"{labels['figure']} {number}: {caption}"


def jats(article: Article) -> str:
    """The article as JATS 1.3 (Journal Article Tag Suite), without a document type, so that nothing is fetched."""
    url = LICENCE_URLS[article.licence]
    keywords = "".join(f"<kwd>{escape(word)}</kwd>" for word in article.keywords)
    references = "".join(
        f'<ref id="r{n}"><label>{n}</label><mixed-citation>{escape(item)}</mixed-citation></ref>'
        for n, item in enumerate(article.references, 1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<article xmlns:xlink="http://www.w3.org/1999/xlink" article-type="research-article" dtd-version="1.3" xml:lang="{article.language}">
<front><article-meta>
<title-group><article-title>{escape(article.title)}</article-title></title-group>
<contrib-group><contrib contrib-type="author"><collab>{escape(article.byline)}</collab></contrib></contrib-group>
<author-notes><fn><p>{escape(article.notice)}</p></fn></author-notes>
<permissions><license xlink:href="{url}"><license-p>{escape(article.licence)}</license-p></license></permissions>
<abstract><p>{escape(article.abstract.text)}</p></abstract>
<kwd-group>{keywords}</kwd-group>
</article-meta></front>
<body>
{_sections(article)}
</body>
<back><ref-list><title>{escape(article.labels["references"])}</title>{references}</ref-list></back>
</article>
"""


def _sections(article: Article) -> str:
    parts: list[str] = []
    for block in article.body:
        if isinstance(block, Heading) and parts:
            parts.append("</sec>")
        parts.append(_jats_block(block, article.labels))
    return "\n".join([*parts, "</sec>"])


def _jats_block(block: Block, labels: Mapping[str, str]) -> str:
    match block:
        case Heading(number, text):
            return f'<sec id="s{number}"><label>{number}</label><title>{escape(text)}</title>'
        case Paragraph():
            return f"<p>{escape(block.text)}</p>"
        case Equation(plain=plain, number=number):
            return f'<disp-formula id="e{number}"><label>({number})</label>{escape(plain)}</disp-formula>'
        case Table(number, caption, head, rows):
            title = f"<label>{labels['table']} {number}</label><caption><p>{escape(caption)}</p></caption>"
            body = "".join(_row(row, "td") for row in rows)
            return f'<table-wrap id="t{number}">{title}<table><thead>{_row(head, "th")}</thead><tbody>{body}</tbody></table></table-wrap>'
        case Figure(number=number, caption=caption):
            return f'<fig id="f{number}"><label>{labels["figure"]} {number}</label><caption><p>{escape(caption)}</p></caption></fig>'


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def json_lines(articles: Sequence[Article]) -> bytes:
    """Records (id, title, text, licence), one a line, compressed; the time in the gzip header is 0."""
    lines = [
        json.dumps(
            {"id": article.stem, "title": article.title, "text": plain_text(article), "licence": article.licence},
            ensure_ascii=False,
        )
        for article in articles
    ]
    return gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0)


def zip_archive(members: Mapping[str, bytes]) -> bytes:
    """A zip archive of the members, in their order, all with the same time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue()
