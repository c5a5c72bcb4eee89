"""Every benchmark is a command that says how it is used."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
PROGRAMS = sorted(f.stem for f in FOLDER.glob("*.py") if '__name__ == "__main__"' in f.read_text())
PARTS = {"first_batch", "loader_systems", "megatron_encode"}  # processes that another benchmark starts
COMMANDS = [name for name in PROGRAMS if name not in PARTS]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_benchmark(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` of a module that is run ends well and shows its own name and options, without its work being begun."""
    for one in ("OMP_WAIT_POLICY", "NANOCHAT_DTYPE"):  # set by some when they are loaded
        monkeypatch.setenv(one, "PASSIVE")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: python -m benchmarks.{name} " in shown
    if name not in {"spike_curves", "parse_worst"}:  # which compare nothing
        assert all(option in shown for option in ("--quick", "--json", "--data"))


@pytest.mark.parametrize("name", sorted(PARTS))
def test_parts_are_started_by_a_benchmark(name: str) -> None:
    """A program that is no command is one that a benchmark starts."""
    others = "".join(f.read_text() for f in FOLDER.glob("*.py") if f.stem != name)
    assert f'"-m", "benchmarks.{name}"' in others


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.stem)
def test_a_benchmark_says_what_it_compares(file: Path) -> None:
    """A module's head says what it is, and its command line those of its parts that there are."""
    tree = ast.parse(file.read_text())
    assert len(ast.get_docstring(tree) or "") > 40 or file.stem == "__init__"
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "main" and call.args:
            assert ast.literal_eval(call.args[0]) == file.stem
