"""What a user may ask for, and how it is refused."""

from pathlib import Path
from typing import get_args

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from workflows.commands import all_stages
from workflows.failures.policy import CHOICES, POLICIES, Policy, read_policies
from workflows.failures.record import Kind


def test_every_class_has_its_policy_and_its_row_in_the_docs() -> None:
    """No class is forgotten: each has a default among its choices, and a row in the table that users read."""
    page = (PACKAGE_ROOT / "docs" / "failures.md").read_text()
    for kind in get_args(Kind):
        assert POLICIES[kind].action in CHOICES[kind]
        assert f"| `{kind}` |" in page
        assert f"| {POLICIES[kind]} |" in page
    assert set(POLICIES) == set(CHOICES) == set(get_args(Kind))


def test_policies_from_the_command_line() -> None:
    """A word changes one class, keeps the limit unless it names one, and leaves the others."""
    found = read_policies(["node-lost=resubmit:5", "out-of-memory=stop", "disk-full=resubmit"])
    assert found["node-lost"] == Policy("resubmit", 5)
    assert found["out-of-memory"].action == "stop"
    assert found["disk-full"] == Policy("resubmit", POLICIES["disk-full"].limit)
    assert {k: v for k, v in found.items() if k not in ("node-lost", "out-of-memory", "disk-full")} == {
        k: v for k, v in POLICIES.items() if k not in ("node-lost", "out-of-memory", "disk-full")
    }


def test_wrong_words_come_together() -> None:
    """An unknown class, an action that makes no sense for a class and a limit that is none are in one message."""
    with pytest.raises(SettingsError) as error:
        read_policies(["node-lots=stop", "contract=resubmit", "walltime=resubmit:0", "walltime"])
    words = str(error.value).splitlines()
    assert "did you mean node-lost?" in words[0]
    assert "contract allows stop, found 'resubmit'" in words[1]
    assert "LIMIT from 1" in words[2]
    assert "walltime allows resubmit, stop, found ''" in words[3]


def mentions(folder: Path, word: str) -> bool:
    """Whether any module of a folder uses a name."""
    return any(word in file.read_text() for file in folder.rglob("*.py"))


def test_a_stage_that_says_it_halves_does() -> None:
    """What a stage declares to halve is a setting that it passes through `halved`, or workers that it asks `num_workers` for."""
    for stage in all_stages():
        folder = PACKAGE_ROOT / "stages" / stage.name
        if stage.halves == "workers":
            at_work = [folder, *(PACKAGE_ROOT / "stages" / name for name in stage.shares)]
            assert any(mentions(place, "num_workers()") for place in at_work), stage.name
        elif stage.halves:
            assert stage.halves in stage.model_fields
            assert mentions(folder, f"halved(settings.{stage.halves})"), stage.name
