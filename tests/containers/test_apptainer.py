"""Argument vectors: what they are, and that nothing gets through which a shell, a bind or an option parser would split."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers import apptainer
from containers.apptainer import Bind, Build, Runtime
from stages.base import SettingsError
from workflows.site import load_site

NASTY = [
    "a b",
    "a;b",
    "a$(b)",
    "a`b`",
    "a\nb",
    "a'b",
    'a"b',
    "a&b",
    "a|b",
    "a>b",
    "a*b",
    "{{ a }}",
    "a,b",
    "a\\b",
    "~a",
    "-a",
]


def made(**changes: object) -> Build:
    """A build in which one thing may be changed."""
    plain = {"image": Path("/w/i.sif"), "definition": Path("/w/d.def"), "arguments": {}, "temporary": Path("/w/t")}
    return Build(**{**plain, **changes})


def test_build_vector() -> None:
    """A build names its temporary folder, its arguments one by one, then image and definition."""
    words = apptainer.build(made(arguments={"STAGE": "parse", "SYSTEM": ""}, binds=(Bind(Path("/c"), None, True),)))
    assert words == [
        *("env", "APPTAINER_TMPDIR=/w/t", "apptainer", "build", "--force", "--bind", "/c:/c:ro"),
        *("--build-arg", "STAGE=parse", "--build-arg", "SYSTEM=", "/w/i.sif", "/w/d.def"),
    ]


def test_build_as_another_user() -> None:
    """Root builds as an ordinary user, with that user's home and a cache in the build's own folder."""
    words = apptainer.build(made(), "builder", Path("/home/builder"))
    assert words[:6] == ["runuser", "-u", "builder", "--", "env", "HOME=/home/builder"]
    with pytest.raises(SettingsError, match="not a user's name"):
        apptainer.build(made(), "a;b", Path("/home/a"))


def test_exec_vector() -> None:
    """Flags stand before the image, the program's own words after it, as they are."""
    runtime = Runtime((Bind(Path("/data"), Path("/in")),), userns=True, nv=True, fakeroot=True, pwd=Path("/"))
    words = apptainer.execute(Path("i.sif"), ["python3", "-c", "print('a b; $c')"], runtime)
    flags = ["--userns", "--nv", "--fakeroot", "--pwd", "/", "--bind", "/data:/in:rw"]
    assert words == ["apptainer", "exec", *flags, "i.sif", "python3", "-c", "print('a b; $c')"]
    assert apptainer.run_test(Path("i.sif"), runtime) == ["apptainer", "test", *flags, "i.sif"]
    assert apptainer.inspect(Path("i.sif")) == ["apptainer", "inspect", "--json", "--labels", "i.sif"]


@pytest.mark.parametrize("word", NASTY)
def test_words_that_would_be_split_are_refused(word: str) -> None:
    """A blank, a shell's sign, a template, a comma or a leading minus is refused wherever Apptainer interprets a word."""
    for what in ("image", "definition", "temporary"):
        with pytest.raises(SettingsError, match="path"):
            apptainer.build(made(**{what: Path(word)}))
    for bind in (Bind(Path(word)), Bind(Path("/a"), Path(word))):
        with pytest.raises(SettingsError, match="path"):
            apptainer.execute(Path("i.sif"), ["true"], Runtime((bind,)))
    with pytest.raises(SettingsError, match="path"):
        apptainer.execute(Path(word), ["true"])
    if word != "-a":  # a value may begin with a sign: it stands behind its name
        with pytest.raises(SettingsError, match="build argument"):
            apptainer.build(made(arguments={"STAGE": word}))
    with pytest.raises(SettingsError, match="not a name"):
        apptainer.build(made(arguments={word: "x"}))


def test_all_problems_at_once() -> None:
    """Every bad argument is in the message, not only the first."""
    with pytest.raises(SettingsError) as error:
        apptainer.check_arguments({"A": "x y", "B": "fine", "C": "$x"})
    assert str(error.value).count("build argument") == 2


def test_a_program_is_needed() -> None:
    """No command, or an option where the program should stand, is refused."""
    with pytest.raises(SettingsError, match="no command"):
        apptainer.execute(Path("i.sif"), [])
    with pytest.raises(SettingsError, match="an option"):
        apptainer.execute(Path("i.sif"), ["--bind", "/"])


@given(st.text(max_size=20))
def test_what_passes_is_one_word_to_a_shell(text: str) -> None:
    """Whatever is let through, a shell reads back as the same single word; `,` and templates never get through."""
    try:
        apptainer.check_arguments({"A": text})
    except SettingsError:
        return
    assert shlex.split(f"A={text}") == [f"A={text}"]
    assert not set(text) & set(",{}$`'\"\\ \n\t;&|<>*?~#!()[]")


@pytest.mark.parametrize("name", ["laptop", "polaris", "aurora"])
def test_sites_prefix_is_an_exec(name: str) -> None:
    """A site's container prefix runs Apptainer's exec and ends in the image, so that the command follows it."""
    prefix = load_site(name).container
    at = prefix.index("apptainer")
    assert prefix[at : at + 2] == ("apptainer", "exec")
    assert prefix[-1] == "{image}"
