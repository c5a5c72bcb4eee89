"""What an image holds: all that its stage imports and no other stage; wheels by digest; an identity that tells changes."""

import ast
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from containers import context
from containers.__main__ import main, stages
from containers.context import Context, base_of, copy_sources, lock_lines, requirements
from containers.fixture import digest_of
from schemas.table import sha256_file
from stages.base import PACKAGE_ROOT, SettingsError, code_sha256
from workflows.commands import all_stages


@pytest.fixture
def packed(tmp_path) -> Context:
    """The context of the tokenize image, with a wheel that is none."""
    folder = tmp_path / "context"
    copy_sources(stages(["tokenize"])[0], folder / "source")
    (folder / "wheels").mkdir()
    (folder / "wheels" / "thing-1.2-py3-none-any.whl").write_bytes(b"x")
    (folder / "requirements.txt").write_text("\n".join(lock_lines(folder / "wheels")))
    return Context(folder, stages(["tokenize"])[0], "cpu")


@pytest.mark.parametrize("stage", all_stages(), ids=lambda s: s.name)
def test_everything_that_a_stage_imports_is_copied(stage, tmp_path) -> None:
    """Every module of this project that the copied files name, wherever the import stands, is among them."""
    copy_sources(stage, tmp_path)
    for file in tmp_path.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("stages", "schemas"):
                place = tmp_path / node.module.replace(".", "/")
                assert place.is_dir() or place.with_suffix(".py").is_file(), f"{file}: {node.module}"


def test_a_copy_stands_alone(tmp_path) -> None:
    """The copied stage starts in a Python that cannot see this project, and its code has the same digest there."""
    copy_sources(stages(["tokenize"])[0], tmp_path)
    code = "from stages.base import code_sha256; from stages.tokenize import Tokenize; print(code_sha256(Tokenize))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, cwd="/", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == code_sha256(stages(["tokenize"])[0])
    assert not (tmp_path / "stages" / "parse").exists()
    assert not (tmp_path / "workflows").exists()


def test_lock_names_bytes(packed) -> None:
    """A line has name, version and digest of the wheel's bytes."""
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # sha256 of "x", by sha256sum
    assert lock_lines(packed.folder / "wheels") == [f"thing==1.2 --hash=sha256:{digest}"]


def test_identity_tells_every_change(packed) -> None:
    """Another base, other code or another wheel is another image; the same things are the same."""
    first = packed.identity("a")
    assert packed.identity("a") == first
    assert packed.identity("b") != first
    (packed.folder / "source" / "stages" / "base.py").write_text("")
    second = packed.identity("a")
    assert second != first
    (packed.folder / "requirements.txt").write_text("thing==1.3")
    assert packed.identity("a") != second


def test_identity_tells_the_systems_packages(packed) -> None:
    """An image with another package of the base's system is another one; the order in which they are named is no matter."""
    asked = [[], ["git"], ["g++", "git"]]
    assert len({packed.arguments("a", words)["IDENTITY"] for words in asked}) == 3
    assert packed.arguments("a", ["git", "g++"])["IDENTITY"] == packed.arguments("a", ["g++", "git", "git"])["IDENTITY"]


@pytest.mark.parametrize(
    "statement",
    [
        "from stages.embed import Embed",
        "from stages.embed.encoder import x",
        "import stages.embed",
        "import json, stages.embed.encoder as e",
        "from stages import embed",
        "def f():\n    from stages import base, embed as e",
    ],
)
def test_every_way_to_import_is_seen(tmp_path, statement) -> None:
    """However a file imports another stage's folder, the image gets that folder, and no folder for anything else."""
    (tmp_path / "x.py").write_text(
        f"import os\nfrom stages.base import Stage\nfrom schemas import corpus\n{statement}\n"
    )
    assert list(context.imported(tmp_path / "x.py")) == ["embed"]


def test_a_base_that_is_not_there_is_named_before_anything_is_built(tmp_path) -> None:
    """A mistyped archive is refused with the way to make one; a hub's name and what lies there are let through."""
    (tmp_path / "base.tar").write_bytes(b"")
    for fine in ("", "debian:12", "ghcr.io/a/b@sha256:00", str(tmp_path), str(tmp_path / "base.tar")):
        context.check_base(fine)
    for wrong in (str(tmp_path / "bsae.tar"), "./base.tar", "../no/folder"):
        with pytest.raises(SettingsError, match="no such file; `python -m containers base"):
            context.check_base(wrong)


def test_an_image_that_is_not_there_is_named(tmp_path, monkeypatch, capsys) -> None:
    """`labels` of a file that is missing, or that Apptainer cannot read, says so in its words, with no traceback."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apptainer")
    assert main(["labels", str(tmp_path / "parse-cpu.sif")]) == 2
    assert "no such image" in capsys.readouterr().err
    (tmp_path / "parse-cpu.sif").write_bytes(b"x")
    failed = subprocess.CompletedProcess([], 255, "", "FATAL: image format not recognized\n")
    monkeypatch.setattr("containers.image.subprocess.run", lambda *_, **__: failed)
    assert main(["labels", str(tmp_path / "parse-cpu.sif")]) == 2
    assert "image format not recognized" in capsys.readouterr().err


def test_arguments_fit_the_definition(packed, tmp_path) -> None:
    """Arguments are those of the definition, and the base's kind is told from what it is: name, archive or folder."""
    from containers.apptainer import check_arguments
    from containers.definition import Definition

    archive = tmp_path / "base.tar"
    archive.write_bytes(b"x")
    for base, kind in (("debian:12", "docker"), (str(archive), "docker-archive"), (str(tmp_path), "localimage")):
        arguments = packed.arguments(base, ["git", "g++"])
        assert arguments["BOOTSTRAP"] == kind
        assert set(arguments) == set(Definition.parse(packed.definition.read_text()).defaults())
        check_arguments(arguments)
    assert arguments["CONTRACTS"].split(":")[0] == "Document@1"
    assert arguments["SYSTEM"] == "git:g++"


def test_requirements_are_the_stages_own() -> None:
    """An image gets the two packages of every stage and its stage's extra, and neither Parsl nor another stage's."""
    found = requirements(stages(["tokenize"])[0])
    assert [r.partition(">")[0] for r in found] == [
        "pyarrow",
        "pydantic",
        "numpy",
        "tokenizers",
        "gigatoken",
        "fastokens",
    ]


def test_wheels_that_the_base_brings_are_left_out(monkeypatch, tmp_path) -> None:
    """On Intel's base PyTorch is the base's own; a pip that fails is reported."""

    def bring(command, check: bool, stdout: object) -> subprocess.CompletedProcess:
        for name in ("torch-2-x.whl", "triton-1-x.whl", "numpy-2-x.whl"):
            (tmp_path / name).write_text("")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(context.subprocess, "run", bring)
    context.collect_wheels(stages(["pretrain"])[0], "xpu", tmp_path)
    assert [f.name for f in tmp_path.glob("*.whl")] == ["numpy-2-x.whl"]
    monkeypatch.setattr(context.subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1))
    with pytest.raises(SettingsError, match="could not bring the wheels of pretrain"):
        context.collect_wheels(stages(["pretrain"])[0], "cpu", tmp_path)


def test_wrong_words_are_named() -> None:
    """A base or a stage that there is not is refused with what there is."""
    with pytest.raises(SettingsError, match="bases: cpu, cuda, xpu"):
        base_of("gpu")
    with pytest.raises(SettingsError, match="did you mean parse"):
        stages(["prase"])


def test_commit_is_known_here() -> None:
    """In a checkout the label is the commit's name, marked where files differ from it."""
    if not (Path(PACKAGE_ROOT) / ".git").exists():
        pytest.skip("not a git checkout")
    assert len(context.commit().removesuffix("-dirty")) == 40


def test_speeds_are_not_compared(tmp_path) -> None:
    """Two runs that differ in their speed alone have one digest; a different loss is another, and so is a table without speeds."""

    def written(name: str, **columns: list[float]) -> str:
        pq.write_table(pa.table(columns), tmp_path / name)
        return digest_of(tmp_path / name)

    first = written("a", loss=[1.0], tokens_per_second=[5.0])
    assert written("b", loss=[1.0], tokens_per_second=[6.0]) == first
    assert written("c", loss=[2.0], tokens_per_second=[5.0]) != first
    assert written("d", loss=[1.0]) == sha256_file(tmp_path / "d")
