"""Requests: what may be in them, how large they may be, and that both sides run the same code."""

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import SettingsError
from workflows.remote.commands import project
from workflows.remote.request import (
    MAX_BYTES,
    Ask,
    Logs,
    Start,
    check_project,
    check_run_id,
    code_sha256,
    new_run_id,
    payload,
    read,
)

RUN = "20261122-0123456789ab"


def start(**changes: object) -> Start:
    """A start in which one thing may be changed."""
    plain = {"run": RUN, "project": "/p", "words": ("run", "r.py"), "code_sha256": "0"}
    return Start.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    "request_",
    [
        start(),
        start(environment={"BOREALIS_ACCOUNT": "x"}),
        Ask(verb="cancel", run=RUN, project="/p"),
        Logs(run=RUN, project="/p"),
    ],
    ids=lambda r: r.verb,
)
def test_round_trip(request_) -> None:
    """A request is JSON and nothing else, and is read back as it was."""
    assert read(json.loads(json.dumps(payload(request_)))) == request_


def test_size_is_checked_before_sending() -> None:
    """At most 64 KiB are sent; the message gives the size found and the cure."""
    room = MAX_BYTES - len(json.dumps(payload(start(words=("run", "a", "", "", "")))).encode())
    whole = ("run", "a", "x" * (room // 2), "y" * (room - room // 2), "")
    assert len(json.dumps(payload(start(words=whole))).encode()) == MAX_BYTES
    with pytest.raises(SettingsError, match=f"has {MAX_BYTES + 1} bytes, at most {MAX_BYTES}.*recipe"):
        payload(start(words=(*whole[:-1], "z")))


def test_a_usual_request_is_small() -> None:
    """A run with forty settings of its own takes under 4 KiB."""
    words = ["run", "workflows/pretrain.py", "--site", "polaris"]
    words += [w for i in range(40) for w in ("--set", f"pretrain.setting_{i}=0.{i}")]
    assert len(json.dumps(payload(start(words=tuple(words)))).encode()) < 4096


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "../../etc"},
        {"run": RUN + "\n"},
        {"project": "relative"},
        {"project": "/a b"},
        {"project": "/a;b"},
        {"project": "/a\n"},
        {"environment": {"LD_PRELOAD": "x.so"}},
        {"environment": {"PATH": "/"}},
        {"words": ("run",)},
        {"words": ("run", "a\x00b")},
        {"shell": "true"},
        {"verb": "stop"},
    ],
    ids=str,
)
def test_what_does_not_belong_is_refused(changes) -> None:
    """A path out of the folder, another variable, an unknown key or verb: refused, and the message names it."""
    fields = {**payload(start()), **changes}
    with pytest.raises(SettingsError, match=r"request"):
        read(fields)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_run_names_are_never_paths(text: str) -> None:
    """Whatever is given as a run's name, it is one of ours or refused."""
    try:
        found = check_run_id(text)
    except SettingsError:
        return
    assert set(found) <= set("0123456789abcdef-")
    assert len(found) == len(RUN)


def test_names_differ() -> None:
    """Two runs of a day have two names, and each is one that the commands take."""
    names = {check_run_id(new_run_id()) for _ in range(100)}
    assert len(names) == 100


def test_code_digest_tells_a_change(monkeypatch, tmp_path) -> None:
    """A changed file, a renamed file and a new file each change the digest; other folders do not."""
    monkeypatch.setattr("workflows.remote.request.PACKAGE_ROOT", tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "docs").mkdir()
    file = tmp_path / "stages" / "a.py"
    file.write_text("1")
    seen = {code_sha256()}
    (tmp_path / "docs" / "b.py").write_text("1")
    assert code_sha256() in seen
    file.write_text("2")
    seen.add(code_sha256())
    file.rename(tmp_path / "stages" / "b.py")
    seen.add(code_sha256())
    file.write_text("3")
    seen.add(code_sha256())
    assert len(seen) == 4


@pytest.mark.parametrize("folder", ["nowhere", "", "../borealis", "~/borealis", "/a b", "/a;b", "/$HOME", "/a\n", "/é"])
def test_a_project_that_cannot_be_is_named(folder: str) -> None:
    """A path that is no whole one, or has letters that a shell reads, is an error in settings that says what was expected."""
    with pytest.raises(
        SettingsError, match="^--project (.|\n)*: expected the whole path of this project on the endpoint"
    ):
        check_project(folder)


def test_a_project_of_plain_letters_is_taken() -> None:
    """A whole path goes on as it is."""
    assert check_project("/lus/flare/projects/a-b_c/borealis@1.0") == "/lus/flare/projects/a-b_c/borealis@1.0"


def test_a_project_here_is_a_checkout(tmp_path, monkeypatch) -> None:
    """On this machine a project that is not there is known before anything is sent; a relative path is one from this folder."""
    monkeypatch.chdir(tmp_path)
    options = argparse.Namespace(endpoint="here", project=Path("nowhere"), site="laptop")
    with pytest.raises(SettingsError, match="--project nowhere: expected a checkout of this project"):
        project(options)
    (tmp_path / "nowhere" / "workflows").mkdir(parents=True)
    assert project(options) == str(tmp_path / "nowhere")
