"""The rules of the design as tests: dependency direction, light imports, frozen flags, words, sizes, contracts."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from schemas.table import Row
from stages.base import PACKAGE_ROOT, Size, Stage
from workflows.commands import all_stages
from workflows.site import load_site

PACKAGES = ("schemas", "stages", "workflows", "examples", "site-configs", "benchmarks", "containers")
GOLDEN = PACKAGE_ROOT / "tests" / "schemas" / "contracts.json"
FLAGS = ["--commit", "--config", "--out", "--shard", "--stub"]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MEDIAN_FUNCTION_LINES, P90_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 8, 30, 5


def tracked(*suffixes: str) -> list[Path]:
    """Files of this project, by git where there is a repository."""
    command = ["git", "-C", str(PACKAGE_ROOT), "ls-files", "-z"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [PACKAGE_ROOT / name for name in listing.stdout.split("\0") if name.endswith(suffixes)]
    return [f for f in files if f.is_file()]


def sources(tests: bool = False) -> list[Path]:
    """Python files of the packages, or with the tests."""
    heads = (*PACKAGES, "tests") if tests else PACKAGES
    return [f for f in tracked(".py") if f.relative_to(PACKAGE_ROOT).parts[0] in heads]


def imports(file: Path) -> set[str]:
    """Modules that a file imports, wherever the statement stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def functions() -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions outside the tests, with where they are."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{f.relative_to(PACKAGE_ROOT)}:{n.lineno} {n.name}", n)
        for f in sources()
        for n in ast.walk(ast.parse(f.read_text()))
        if isinstance(n, kinds)
    ]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("schemas", ("stages", "workflows", "parsl")), ("stages", ("workflows", "parsl", "globus_compute_sdk"))],
)
def test_dependencies_point_one_way(package: str, forbidden: tuple[str, ...]) -> None:
    """Schemas <- stages <- workflows <- site-configs: nothing imports against the arrow."""
    wrong = [
        f"{file.relative_to(PACKAGE_ROOT)} imports {name}"
        for file in sources()
        if file.relative_to(PACKAGE_ROOT).parts[0] == package
        for name in imports(file)
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_schemas_import_pydantic_and_pyarrow_only() -> None:
    """Contracts need nothing but the standard library, pydantic and pyarrow."""
    allowed = {"pydantic", "pyarrow", "annotated_types", "schemas"} | set(sys.stdlib_module_names)
    found = {n.split(".")[0] for f in (PACKAGE_ROOT / "schemas").glob("*.py") for n in imports(f)}
    assert found <= allowed


def test_declarations_are_light() -> None:
    """Importing every stage's declaration and the recipe loads no torch, no Parsl, nothing that works."""
    heavy = ["torch", "parsl", "transformers", "deepspeed", "pypdfium2", "numpy.linalg", "duckdb", "lm_eval", "trl"]
    code = (
        "import sys\nfrom workflows.commands import all_stages\nall_stages()\nimport workflows.pretrain\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert loaded <= {"numpy.linalg"}  # pyarrow imports numpy where it is installed


@pytest.mark.parametrize("stage", all_stages(), ids=lambda s: s.name)
def test_flags_are_frozen(stage: type[Stage]) -> None:
    """Every stage has the same five flags and one an input."""
    command = [sys.executable, "-m", f"stages.{stage.name}", "--help"]
    words = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True).stdout
    found = sorted(set(re.findall(r"^  (--[a-z_]+)", words, flags=re.MULTILINE)))
    assert found == sorted([*FLAGS, *(f"--{name}" for name in stage.inputs)])


@pytest.mark.parametrize("stage", all_stages(), ids=lambda s: s.name)
def test_stages_are_declared_alike(stage: type[Stage]) -> None:
    """A stage has a version, outputs, a size, a summary, defaults for all settings, and its extra in pyproject.toml."""
    assert stage.version >= 1
    assert stage.outputs
    assert stage.resources in get_args(Size)
    assert stage.__doc__
    stage()
    extras = importlib.metadata.metadata("borealis-science").get_all("Provides-Extra") or []
    assert stage.name.replace("_", "-") in extras  # packages' metadata spell names with hyphens
    if stage.conserves:
        assert stage.conserves[0] in stage.inputs
        assert stage.conserves[1] in stage.outputs
        assert "dropped" in stage.outputs


@pytest.mark.parametrize("name", ["laptop", "polaris", "aurora", "slurm"])
def test_every_site_offers_every_size(name: str) -> None:
    """A stage can name any size and run anywhere; the site has its page of sources."""
    site = load_site(name)
    assert set(site.resources) == set(get_args(Size))
    assert (PACKAGE_ROOT / "site-configs" / f"{name}.md").is_file()


def contracts() -> dict[str, list[str]]:
    """Every contract with its columns."""
    for file in (PACKAGE_ROOT / "schemas").glob("*.py"):
        __import__(f"schemas.{file.stem}")
    rows = sorted((r for r in Row.__subclasses__() if r.__module__.startswith("schemas.")), key=lambda r: r.__name__)
    return {
        r.contract(): [f"{f.name}: {f.type}{'' if f.nullable else ' not null'}" for f in r.arrow_schema()] for r in rows
    }


def test_contracts_match_the_golden_file() -> None:
    """A change of columns shows up here, and must raise `contract_version` (then: python -m tests.architecture.test_design)."""
    assert contracts() == json.loads(GOLDEN.read_text())


def test_no_module_is_called_utils() -> None:
    """Modules are named for their technique."""
    banned = {"utils", "helpers", "common", "manager", "misc"}
    assert [f for f in sources(tests=True) if f.stem in banned or banned & set(f.parent.parts)] == []


def test_budgets() -> None:
    """Files, functions and parameter lists stay short."""
    long = [f for f in sources(tests=True) if len(f.read_text().splitlines()) > MAX_FILE_LINES]
    assert long == []
    sizes = sorted((n.end_lineno or 0) - n.lineno + 1 for _, n in functions())
    assert [w for w, n in functions() if (n.end_lineno or 0) - n.lineno + 1 > MAX_FUNCTION_LINES] == []
    assert sizes[len(sizes) // 2] <= MEDIAN_FUNCTION_LINES
    assert sizes[int(len(sizes) * 0.9)] <= P90_FUNCTION_LINES
    wide = [w for w, n in functions() if len([a for a in n.args.args if a.arg not in ("self", "cls")]) > MAX_PARAMETERS]
    assert wide == []


def test_no_shell_strings_and_no_pickle() -> None:
    """No `shell=True`, no `os.system`, no pickle, no remote code, no disabled checks of archives."""
    banned = (
        "shell=True",
        "os.system(",
        "import pickle",
        "pickle.load",
        "trust_remote_code=True",
        "weights_only=False",
    )
    wrong = [f"{f.relative_to(PACKAGE_ROOT)}: {b}" for f in sources() for b in banned if b in f.read_text()]
    assert wrong == []


def test_every_test_says_what_must_be_true() -> None:
    """Each test function has a one-sentence docstring."""
    silent = [
        f"{f.relative_to(PACKAGE_ROOT)} {n.name}"
        for f in tracked(".py")
        if f.name.startswith("test_")
        for n in ast.walk(ast.parse(f.read_text()))
        if isinstance(n, ast.FunctionDef) and n.name.startswith("test_") and not ast.get_docstring(n)
    ]
    assert silent == []


def test_nothing_is_swallowed() -> None:
    """No exception handler consists of `pass` alone."""
    silent = [
        f"{f.relative_to(PACKAGE_ROOT)}:{n.lineno}"
        for f in sources(tests=True)
        for n in ast.walk(ast.parse(f.read_text()))
        if isinstance(n, ast.ExceptHandler) and len(n.body) == 1 and isinstance(n.body[0], ast.Pass)
    ]
    assert silent == []


def test_no_unfinished_words() -> None:
    """Nothing is left to do later."""
    words = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error", "place" + "holder"]))
    assert [str(f) for f in sources(tests=True) if words.search(f.read_text())] == []


def test_parsl_ships_no_command_of_our_name() -> None:
    """`parsl` is our console script; if Parsl ever ships one, this fails and `python -m workflows` is the safe spelling."""
    theirs = {e.name for e in importlib.metadata.distribution("parsl").entry_points if e.group == "console_scripts"}
    ours = {e.name for e in importlib.metadata.distribution("borealis-science").entry_points}
    assert "parsl" in ours
    assert "parsl" not in theirs


def test_workflows_is_ours() -> None:
    """No other distribution's top-level `workflows` stands before this one."""
    import workflows

    assert Path(workflows.__file__ or "").parent == PACKAGE_ROOT / "workflows"


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(contracts(), indent=1) + "\n")
