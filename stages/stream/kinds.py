r"""Prose, LaTeX, code, SMILES, tables and numbers: which characters of a text are which, by simple rules.

A text is prose, out of which each rule cuts what it knows: blocks (fences, `\begin..\end`, `$$`), runs of lines (code, tables),
words. A span takes the space before it, as the tokens of most tokenizers do. Rules, not a model: they say why, and are
tuned for precision: what is in doubt is prose. Given up: code of one line without a fence, tables whose columns are only
aligned, mathematics that is written without LaTeX, SMILES without structure (see `smiles`).
"""

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from schemas.tokens import TextKind
from stages.stream.smiles import is_smiles


class Span(NamedTuple):
    """Characters `start:end` of a text are of this kind."""

    start: int
    end: int
    kind: TextKind


Rule = Callable[[str, int, int], Iterator[Span]]  # yields the spans that it knows in characters start:end of a text

BLOCK = re.compile(
    r"(?P<code>^[ ]{0,3}(?P<fence>`{3,}+|~{3,}+)[^\n]*\n.*?(?:^[ ]{0,3}(?P=fence)[^\n]*(?:\n|\Z)|\Z))"
    r"|(?P<latex>\\begin\{(?!document|abstract)(?P<name>[a-zA-Z]+\*?)\}.{0,8000}?\\end\{(?P=name)\}"
    r"|(?<![\\$])\$\$(?!\$).{1,4000}?\$\$|\\\[.{1,4000}?\\\])",
    re.DOTALL | re.MULTILINE,
)
# Between two dollars of mathematics there is a sign of it, or one letter; between two prices there is not.
MATH = r"\$(?![\d.,]+\s)(?=[^$\n]{0,400}[\\^_=<>{}+×÷∂∑∫√≤≥∈α-ωΑ-Ω]|[a-zA-Z]\$)[^$\n]{1,400}\$"
COMMAND = r"\\[a-zA-Z]{2,24}\*?(?![\\\w])(?:\[[^\]\n]{0,200}\])?(?:\{(?:[^{}\n]|\{[^{}\n]{0,200}\}){0,400}\})*|\\\(.{1,400}?\\\)"
INLINE = re.compile(rf"(?P<latex>{MATH}|{COMMAND})|(?P<code>`[^`\n]+`)")
NUMBER = re.compile(
    r"(?<![\w.])(?<![A-Za-z][-–])(?:(?<![\w)])[+\-−±])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+\-−]?\d+)?"
    r"(?:\s?[×·x]\s?10(?:\^?\{?[−\-+]?\d+\}?|[⁻⁺]?[⁰¹²³⁴-⁹]+))?(?!\w|\.\d)"
)
NOTATION = re.compile(  # what may be SMILES: between white space or quotes, and with the characters that it is written in
    r"""(?<![^\s"'|,;:<>])\(?(?P<word>(?:\[[^\[\]\s]{1,16}\]|Cl|Br|[BCNOPSFIbcnops\d()=#%/\\.:-]){2,}+)(?![^\s"'|,;<>])"""
)
MIN_NOTATION = 5

CODE = re.compile(
    r"""\s*(?:
      import\ [\w.]+(?:\ as\ \w+|,\ ?\w+)*\s*;?$ | from\ [\w.]+\ import\ [\w*(] | (?:async\ )?(?:def|class)\ \w+.*:\s*(?:\#.*)?$
    | for\ \w+(?:,\ \w+)*\ in\ \S.*:\s*(?:\#.*)?$ | \#\s*(?:include|define|ifdef|endif|pragma)\b | (?://|/\*|\*/|\#!).*$
    | "[^"\n]+"\s*:\s*\S.*$ | \{\s*"[^"\n]+"\s*:.*\}\s*,?$
    | (?P<unless_a_sentence>
        (?:if|elif|while|with|except)\b.*:\s*(?:\#.*)?$ | (?:else|try|finally):\s*$ | (?:return|raise|yield|assert)\b.*$
      | (?:end|fi|done|esac)\s*;?$ | @[\w.]+(?:\(.*\))?$ | [\w.$\[\]"',\ :*&]{1,60}?\s*(?:[-+*/|&%]?=|<-|:=)\s*[^\s=].*$
      | [\w.:]+\(.*\)\s*[;{]?$ | .*[;{]\s*(?://.*|\#.*)?$ | [\])}]+[;,)]*\s*$ | </?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>.*$
      | (?:\$|>>>|In\ \[\d*\]:)\ \S.*$ | (?:SELECT|INSERT|UPDATE|CREATE)\ .*$
      )
    )""",
    re.VERBOSE,
)
RECORD = re.compile(r'\s*\{\s*"[^"\n]+"\s*:.*\}\s*,?\s*$')  # JSON that stands alone on its line
AROUND = re.compile(r'\s*(?:#.*)?$|[ \t]+(?:(?P<docstring>""")|\S)')  # belongs to the code around it
SENTENCE = re.compile(r"(?<![\w\"'])[A-Za-z]{2,}(?:,? [A-Za-z]{2,}){4}")
COMMENT = re.compile(r"(?:#|//).*")
QUOTED = re.compile(r'"(?:[^"]|"")*"')
MIN_COMMAS = 2


def spans(text: str) -> list[Span]:
    """Cut a text into spans that follow one another from its start to its end, neighbours of different kinds."""
    tiles: Iterator[Span] = iter([Span(0, len(text), "prose")])
    tiles = _cut(text, tiles, _blocks, {"prose"})
    tiles = _cut(text, tiles, _lines, {"prose"})
    tiles = _cut(text, tiles, _inline, {"prose"})
    tiles = _cut(text, tiles, _smiles, {"prose", "table", "code"})
    tiles = _cut(text, tiles, _numbers, {"prose"})
    runs = ((kind, list(run)) for kind, run in groupby(tiles, lambda tile: tile.kind))
    return [Span(run[0].start, run[-1].end, kind) for kind, run in runs]


def _cut(text: str, tiles: Iterator[Span], rule: Rule, within: set[TextKind]) -> Iterator[Span]:
    """Cut what `rule` finds out of the tiles of the kinds `within`."""
    for tile in tiles:
        position = tile.start
        for start, end, kind in rule(text, tile.start, tile.end) if tile.kind in within else ():
            first = start - (start > position and text[start - 1] == " ")
            if first > position:
                yield Span(position, first, tile.kind)
            yield Span(first, end, kind)
            position = end
        if position < tile.end:
            yield Span(position, tile.end, tile.kind)


def _blocks(text: str, start: int, end: int) -> Iterator[Span]:
    for match in BLOCK.finditer(text, start, end):
        yield Span(match.start(), match.end(), "code" if match["code"] else "latex")


def _inline(text: str, start: int, end: int) -> Iterator[Span]:
    for match in INLINE.finditer(text, start, end):
        yield Span(match.start(), match.end(), "code" if match["code"] else "latex")


def _numbers(text: str, start: int, end: int) -> Iterator[Span]:
    for match in NUMBER.finditer(text, start, end):
        yield Span(match.start(), match.end(), "number")


def _smiles(text: str, start: int, end: int) -> Iterator[Span]:
    for match in NOTATION.finditer(text, start, end):
        word = match["word"].rstrip(".:")
        if word.count(")") > word.count("("):  # the end of a bracket in the sentence
            word = word.removesuffix(")").rstrip(".:")
        if len(word) >= MIN_NOTATION and is_smiles(word):
            yield Span(match.start("word"), match.start("word") + len(word), "smiles")


def _lines(text: str, start: int, end: int) -> Iterator[Span]:
    lines = text[start:end].splitlines(keepends=True)
    kinds = _code(lines)
    cells = [_cells(line) if kind == "prose" else 0 for line, kind in zip(lines, kinds, strict=True)]
    for i, (line, kind) in enumerate(zip(lines, kinds, strict=True)):
        beside = {0, *cells[max(i - 1, 0) : i], *cells[i + 1 : i + 2]} - {0}
        if kind != "prose":
            yield Span(start, start + len(line), kind)
        elif cells[i] < 0 or cells[i] in beside:
            yield Span(start, start + len(line), "table")
        start += len(line)


def _code(lines: list[str]) -> list[TextKind]:
    """Mark runs that begin and end with a line of code and hold two or more, or one record."""
    kinds: list[TextKind] = ["prose"] * len(lines)
    run: list[int] = []
    for i, line in enumerate([*lines, "."]):
        if _is_code(line):
            run.append(i)
        elif run and not _is_around(line):
            if len(run) > 1 or RECORD.match(lines[run[0]]):
                kinds[run[0] : run[-1] + 1] = ["code"] * (run[-1] + 1 - run[0])
            run = []
    return kinds


def _is_code(line: str) -> bool:
    match = CODE.match(line)
    return match is not None and not (match["unless_a_sentence"] is not None and _is_sentence(line))


def _is_around(line: str) -> bool:
    match = AROUND.match(line)
    return match is not None and (match["docstring"] is not None or not _is_sentence(line))


def _is_sentence(line: str) -> bool:
    return SENTENCE.search(COMMENT.sub("", QUOTED.sub("", line))) is not None


def _cells(line: str) -> int:
    """Return how many cells a line has if it may be a table's row, -1 if it is one whatever stands beside it, else 0."""
    row = line.strip()
    if len(row) > 1 and row[0] == row[-1] == "|":
        return -1
    if "\t" in row:
        return row.count("\t") + 1
    bare = QUOTED.sub("", row)
    commas = bare.count(",")
    return commas + 1 if commas >= MIN_COMMAS and ", " not in bare else 0
