"""Definitions: the shipped ones have no faults, and each fault that the lint knows is found in a bad one."""

import sys

import pytest

from containers.__main__ import main
from containers.context import FOLDER
from containers.definition import Definition, lint, problems
from containers.image import DEFAULT_BASE

CPU = (FOLDER / "cpu.def").read_text()
FAULTS = {
    "no default": ("{{ LOCK }}", "{{ LOOK }}", "{{ LOOK }} has no default in %arguments"),
    "unused": ("    BASE=", "    SPARE=1\n    BASE=", "SPARE is used nowhere"),
    "fixed base": ("From: {{ BASE }}", "From: debian", "the header must say 'From: {{ BASE }}'"),
    "no section": ("%help", "%pre", "no section %help"),
    "strange section": ("%help", "%setup", "unknown section %setup"),
    "no label": ("    lock {{ LOCK }}\n", "", "%labels: no lock"),
    "environment works": ("    unset PYTHONPATH PYTHONHOME", "    touch /tmp/x", "only export and unset"),
    "careless": ("    set -eu\n", "", "must begin with 'set -eu'"),
    "from a network": (" --no-index", "", "pip install without --no-index"),
    "unlocked": ("--require-hashes", "", "pip install without --require-hashes"),
    "fetching": ("    rm -rf /opt/wheels", "    wget x", "%post: wget fetches"),
    "home": ("    rm -rf /opt/wheels", "    touch $HOME/x", "%post: $HOME writes to a home"),
    "no test": ("/opt/borealis/check.py /opt/borealis/fixture", "-c 0", "does not run check.py"),
    "syntax": ("    fi\n", "", "%post:"),
}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.def")), ids=lambda f: f.stem)
def test_shipped_definitions_have_no_faults(file) -> None:
    """Every definition of this project is fit to build."""
    assert lint(file) == []


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_each_fault_is_found(fault: str) -> None:
    """A definition with one fault is reported with its words."""
    old, new, words = FAULTS[fault]
    assert old in CPU
    assert any(words in p for p in problems(CPU.replace(old, new)))


def test_three_bases() -> None:
    """There is a definition for each base that a site can name, and they differ in little: the same sections."""
    found = {f.stem: Definition.parse(f.read_text()) for f in FOLDER.glob("*.def")}
    assert set(found) == {"cpu", "cuda", "xpu"}
    assert len({tuple(d.sections) for d in found.values()}) == 1
    assert len({d.sections["test"] for d in found.values()}) == 1


def test_a_definition_names_the_base_that_is_built_from() -> None:
    """A definition that is built by hand, and a build that names no base, begin from the same image; its Python may be newer."""
    for name, base in DEFAULT_BASE.items():
        own = Definition.parse((FOLDER / f"{name}.def").read_text()).defaults()["BASE"]
        assert own == base.replace(f"python:3.{sys.version_info.minor}", "python:3.11")


def test_lint_command(capsys) -> None:
    """The command says that there are no faults and ends with 0."""
    assert main(["lint"]) == 0
    assert "no faults" in capsys.readouterr().out
