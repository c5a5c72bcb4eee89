"""Read a definition file and say what is wrong with it: checked on every test run, and before every build.

What it gives up: it knows the sections that are used here, not all that Apptainer has.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SECTION = re.compile(r"^%(\w+)\s*$", re.MULTILINE)
VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
SECTIONS = ("arguments", "files", "post", "environment", "labels", "test", "runscript", "help")
SCRIPTS = ("post", "environment", "test", "runscript")
LABELS = {"stage", "contracts", "commit", "lock", "identity"}
PIP_FLAGS = ("--no-index", "--require-hashes", "--no-deps")
BANNED = {
    "curl ": "fetches",
    "wget ": "fetches",
    "git clone": "fetches",
    "$HOME": "writes to a home",
    "/root": "writes to a home",
}
SHELL = "/bin/sh"


class Definition(NamedTuple):
    """A definition's header and its sections."""

    header: str
    sections: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Definition":
        """Split a definition at its section lines."""
        header, *parts = SECTION.split(text)
        return cls(header, dict(zip(parts[::2], parts[1::2], strict=True)))

    def defaults(self) -> dict[str, str]:
        """The arguments that may be given, with what they are where they are not."""
        lines = [line.strip().partition("=") for line in self.sections.get("arguments", "").splitlines()]
        return {key: value for key, equals, value in lines if equals}

    def used(self) -> set[str]:
        """The arguments that the text uses."""
        return set(VARIABLE.findall("\n".join([self.header, *self.sections.values()])))


def lint(file: Path) -> list[str]:
    """What is wrong with a definition file; nothing where it is fit to build."""
    return [f"{file.name}: {problem}" for problem in problems(file.read_text())]


def problems(text: str) -> list[str]:
    """What is wrong with a definition."""
    found = Definition.parse(text)
    return [*_arguments(found), *_sections(found), *_post(found), *_scripts(found)]


def _arguments(found: Definition) -> Iterator[str]:
    defaults = found.defaults()
    yield from (f"{{{{ {name} }}}} has no default in %arguments" for name in sorted(found.used() - set(defaults)))
    yield from (f"%arguments: {name} is used nowhere" for name in sorted(set(defaults) - found.used()))
    for line in ("Bootstrap: {{ BOOTSTRAP }}", "From: {{ BASE }}"):
        if line not in found.header:
            yield f"the header must say {line!r}, so that the same file builds online and offline"


def _sections(found: Definition) -> Iterator[str]:
    yield from (f"no section %{name}" for name in SECTIONS if name not in found.sections)
    yield from (f"unknown section %{name}" for name in found.sections if name not in SECTIONS)
    labels = {line.split()[0] for line in found.sections.get("labels", "").splitlines() if line.strip()}
    yield from (f"%labels: no {name}" for name in sorted(LABELS - labels))
    for line in found.sections.get("environment", "").splitlines():
        if line.strip() and line.split()[0] not in ("export", "unset"):
            yield f"%environment: only export and unset, found {line.strip()!r}"


def _post(found: Definition) -> Iterator[str]:
    post = found.sections.get("post", "")
    if post and post.split("\n")[1].strip() != "set -eu":
        yield "%post: must begin with 'set -eu', or a failed step goes unseen"
    yield from (f"%post: pip install without {flag}" for flag in PIP_FLAGS if post and flag not in post)
    yield from (f"%post: {word.strip()} {why}" for word, why in BANNED.items() if word in post)
    if "check.py" not in found.sections.get("test", ""):
        yield "%test: does not run check.py"


def _scripts(found: Definition) -> Iterator[str]:
    for name in SCRIPTS:
        script = VARIABLE.sub("x", found.sections.get(name, ""))
        done = subprocess.run([SHELL, "-n"], input=script, capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"%{name}: {done.stderr.strip()}"
