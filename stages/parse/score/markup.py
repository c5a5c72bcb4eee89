"""Markdown as plain text, so that a parser that writes it is scored by what it read."""

import re

DELIMITER = re.compile(r"^[ \t]*\|?([ \t]*:?-+:?[ \t]*\|)+([ \t]*:?-+:?[ \t]*)?$\n?", re.MULTILINE)
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE)
EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*])")
PIPE = re.compile(r"(?<!\\)\|")
PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\([^)\s]+\)")


def plain(text: str) -> str:
    """The words of a Markdown text: no signs of headings, tables, emphasis, links; cells apart by a space."""
    text = HEADING.sub("", DELIMITER.sub("", text))
    lines = [PIPE.sub(" ", n) if n.lstrip().startswith("|") else n for n in text.split("\n")]
    text = "\n".join(lines).replace("\\|", "|")
    return EMPHASIS.sub(r"\2", LINK.sub(r"\1", PICTURE.sub(r"\1", text)))
