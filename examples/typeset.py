"""Articles to PDF with typst: four layouts, justified and hyphenated, with running heads and page numbers.

Text goes in as typst string literals, so that nothing in it is read as markup. The fonts are those in the typst wheel
and the time stamp is fixed, so that the same article gives the same bytes on every machine with the same typst.
"""

import functools
import json
import math
from dataclasses import dataclass
from typing import cast

import typst

from examples.document import Article, Block, Equation, Figure, Heading, Layout, Paragraph, Table, numbered

TIMESTAMP = 1_767_225_600  # 2026-01-01, for the PDF's dates
LAYOUTS: tuple[Layout, ...] = ("one-column", "two-column", "journal", "report")


@dataclass(frozen=True)
class Style:
    """What makes a layout; sizes in typst's units."""

    paper: str
    font: str
    size: str
    margin: str
    columns: int
    colour: str
    centred: bool


STYLES: dict[Layout, Style] = {
    "one-column": Style("a4", "New Computer Modern", "10.5pt", "(x: 30mm, y: 28mm)", 1, "black", centred=True),
    "two-column": Style("a4", "New Computer Modern", "9pt", "(x: 18mm, y: 22mm)", 2, "black", centred=True),
    "journal": Style("a4", "Libertinus Serif", "9.5pt", "(x: 17mm, y: 24mm)", 2, 'rgb("#1d4f7c")', centred=False),
    "report": Style("us-letter", "Libertinus Serif", "11pt", "(x: 27mm, y: 26mm)", 1, 'rgb("#5b2a1f")', centred=False),
}

PREAMBLE = """
#let accent = {colour}
#set document(title: {title}, author: "Demonstration catalogue", date: none)
#set page(paper: "{paper}", margin: {margin}, columns: {columns}, numbering: "1",
  header: context {{
    set text(size: 0.8em)
    if counter(page).get().first() > 1 {{ [#{short} #h(1fr) #{running}] + v(-0.4em) + line(length: 100%, stroke: 0.4pt) }}
  }},
  footer: context {{
    set text(size: 0.8em)
    align(center)[#{page} #counter(page).display() / #counter(page).final().first()]
  }})
#set text(font: "{font}", size: {size}, lang: "{language}", hyphenate: true)
#set par(justify: true, leading: 0.58em, spacing: 0.58em, first-line-indent: 1.2em)
#set math.equation(numbering: "(1)")
#show regex("[^\\s(]+/(\\([^)]*\\)|[^\\s]+)"): it => box(it)  // no line ends inside of W/(m K)
#show math.equation: set text(font: "New Computer Modern Math")
#show heading: it => block(above: 1.3em, below: 0.7em, sticky: true,
  text(size: 1.15 * {size}, fill: accent, hyphenate: false, it.body))
#let cells = table.with(stroke: none, inset: (x: 0.5em, y: 0.3em))
#let caption(label, body) = block(width: 100%, above: 0.9em, below: 0.9em, {{
  set par(first-line-indent: 0em)
  text(size: 0.88em)[*#label* #body]
}})
#let plot(w, h, xlabel, ylabel, xs, ys, xticks, yticks) = block(width: 100%, above: 1em, below: 0.4em, breakable: false,
  align(center, grid(columns: 2, column-gutter: 0.4em, row-gutter: 0.3em,
    align(horizon, rotate(-90deg, reflow: true, text(size: 0.8em, hyphenate: false, ylabel))),
    box(width: w + 2.2em, height: h + 1.2em, {{
      set text(size: 0.75em)
      place(top + left, dx: 2.2em, rect(width: w, height: h, stroke: 0.5pt))
      for (at, shown) in yticks {{
        place(top + left, dy: h * (1 - at) - 0.4em, box(width: 1.9em, align(right, shown)))
        place(top + left, dx: 2.2em, dy: h * (1 - at), line(length: 3pt, stroke: 0.5pt))
      }}
      for (at, shown) in xticks {{
        place(top + left, dx: 1.2em + w * at, dy: h + 0.35em, box(width: 2em, align(center, shown)))
      }}
      for i in range(1, xs.len()) {{
        place(top + left, dx: 2.2em, line(start: (w * xs.at(i - 1), h * (1 - ys.at(i - 1))),
          end: (w * xs.at(i), h * (1 - ys.at(i))), stroke: 0.8pt + accent))
      }}
      for (x, y) in xs.zip(ys) {{
        place(top + left, dx: 2.2em + w * x - 2pt, dy: h * (1 - y) - 2pt, circle(radius: 2pt, fill: accent))
      }}
    }}),
    [], text(size: 0.8em, xlabel))))
"""


def quoted(text: str) -> str:
    """A typst string literal; JSON's escapes that occur here (quote, backslash, newline) are also typst's."""
    return json.dumps(text, ensure_ascii=False)


def source(article: Article, layout: Layout) -> str:
    """The typst source of an article."""
    style = STYLES[layout]
    labels = article.labels
    start = PREAMBLE.format(
        colour=style.colour, title=quoted(article.title), paper=style.paper, margin=style.margin,
        columns=style.columns, font=style.font, size=style.size, language=article.language,
        short=quoted(article.title), running=quoted(article.byline.split(",")[0]), page=quoted(labels["page"]),
    )  # fmt: skip
    body = [_block(block, article) for block in article.body]
    return "\n\n".join([start, _front(article, style), *body, _references(article)])


def _front(article: Article, style: Style) -> str:
    """Title, byline, notice, licence, abstract and keywords; over the full width of the page where it has columns."""
    labels, side = article.labels, "center" if style.centred else "left"
    inset = "(x: 2.5em)" if style.centred else "(x: 0em)"
    rule = "" if style.centred else "#line(length: 100%, stroke: 1pt + accent)"
    words = quoted(", ".join(article.keywords))
    keywords = (
        f'#v(0.3em)#text(weight: "bold", {quoted(labels["keywords"] + ":")}) #{words}' if article.keywords else ""
    )
    front = f"""[
      #set par(first-line-indent: 0em)
      #align({side}, par(justify: false, text(size: 1.6em, weight: "bold", fill: accent, hyphenate: false, {quoted(article.title)})))
      #v(0.4em)
      #align({side}, {quoted(article.byline)})
      #v(0.3em)
      #align({side}, text(size: 0.88em, style: "italic", {quoted(article.notice)}))
      #align({side}, text(size: 0.88em, {quoted(f"{labels['licence']}: {article.licence}")}))
      {rule}
      #v(0.4em)
      #block(inset: {inset})[
        #text(weight: "bold", {quoted(labels["abstract"])}) #h(0.6em) #{quoted(article.abstract.text)}
        {keywords}
      ]
      {rule}
    ]"""
    if style.columns == 1:
        return f"#{front}"
    return f'#place(top, float: true, scope: "parent", clearance: 1.6em, {front})'


def _block(block: Block, article: Article) -> str:
    labels = article.labels
    match block:
        case Heading(number, text):
            return f"#heading({quoted(f'{number}  {text}')})"
        case Paragraph():
            return f"#par({quoted(block.text)})"
        case Equation(math=formula):
            return f"$ {formula} $"
        case Table():
            return _caption(f"{labels['table']} {block.number}:", block.caption) + "\n" + _table(block)
        case Figure():
            return _plot(block) + "\n" + _caption(f"{labels['figure']} {block.number}:", block.caption)


def _caption(label: str, text: str) -> str:
    return f"#caption({quoted(label)}, {quoted(text)})"


def _table(table: Table) -> str:
    head = ", ".join(f"[*#{quoted(cell)}*]" for cell in table.head)
    rows = ",\n".join(", ".join(f"[#{quoted(cell)}]" for cell in row) for row in table.rows)
    return f"""#block(width: 100%, below: 1.2em, breakable: false, align(center, text(size: 0.92em, hyphenate: false,
      cells(columns: {len(table.head)}, align: (x, y) => if x == 0 {{ left }} else {{ right }},
      table.hline(stroke: 0.8pt), {head}, table.hline(stroke: 0.4pt), {rows}, table.hline(stroke: 0.8pt)))))"""


def _plot(figure: Figure) -> str:
    (xs, xticks), (ys, yticks) = (_axis([p[i] for p in figure.points]) for i in (0, 1))
    return f"#plot(5.2cm, 3.1cm, {quoted(figure.axes[0])}, {quoted(figure.axes[1])}, {xs}, {ys}, {xticks}, {yticks})"


def _axis(values: list[float]) -> tuple[str, str]:
    """Positions from 0 to 1 of the values, and ticks at round numbers, as typst arrays."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    step = 10 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if (high - low) / s < 6)
    marks = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    at = [f"{(v - low) / (high - low):.4f}" for v in values]
    ticks = [f'({(m - low) / (high - low):.4f}, "{m:.{places}f}")' for m in marks]
    return f"({', '.join(at)},)", f"({', '.join(ticks)},)"


def _references(article: Article) -> str:
    if not article.references:
        return ""
    items = "\n\n".join(f"#par({quoted(item)})" for item in numbered(article.references))
    title = quoted(article.labels["references"])
    return f"#heading({title})\n#[#set par(first-line-indent: 0em, hanging-indent: 1.6em)\n#set text(size: 0.92em)\n{items}]"


@functools.cache
def _compiler() -> typst.Compiler:
    """One compiler a process: it loads the wheel's own fonts once, and no fonts of the machine."""
    return typst.Compiler(font_paths=typst.Fonts(include_system_fonts=False))


def pdf_of(article: Article, layout: Layout) -> bytes:
    """The article as PDF. Deterministic; untagged, as most papers on a disk are."""
    text = source(article, layout).encode()
    return cast("bytes", _compiler().compile(text, format="pdf", timestamp=TIMESTAMP, pdf_tags=False))
