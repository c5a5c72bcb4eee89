"""Settings from the command line and from files."""

import pytest

from stages.base import SettingsError
from workflows.overrides import read_overrides, read_shards


def test_values_are_json_or_text() -> None:
    """Numbers, truths and lists are JSON; everything else stands as it is, `=` included."""
    found = read_overrides(["a.x=3", "a.y=true", 'a.z=["p"]', "b.path=/data/x=y", "b.w=en"], None)
    assert found == {"a": {"x": 3, "y": True, "z": ["p"]}, "b": {"path": "/data/x=y", "w": "en"}}


def test_all_bad_assignments_are_named() -> None:
    """Every assignment that is none is in the message."""
    with pytest.raises(SettingsError) as error:
        read_overrides(["a", "b=1", ".c=2", "d.=3", "ok.x=1"], None)
    assert [line.split(":")[0] for line in str(error.value).split("\n")] == [
        "--set a",
        "--set b=1",
        "--set .c=2",
        "--set d.=3",
    ]


def test_stages_are_switched_on_and_off(tmp_path) -> None:
    """`STAGE=on` says of a stage that it is wanted, and keeps its settings; `STAGE=off` takes back what was said of it."""
    (tmp_path / "s.toml").write_text("[a]\nx = 1\n[b]\n")
    assert read_overrides(["c=on", "a=on", "b=off", "d=off"], tmp_path / "s.toml") == {"a": {"x": 1}, "c": {}}
    assert read_overrides(["a.x=1", "a=off", "a=on"], None) == {"a": {}}


@pytest.mark.parametrize(("name", "text"), [("s.toml", "[a]\nx = 1\ny = 2\n"), ("s.json", '{"a": {"x": 1, "y": 2}}')])
def test_files_and_precedence(tmp_path, name, text) -> None:
    """TOML and JSON say the same, and `--set` wins over the file."""
    (tmp_path / name).write_text(text)
    assert read_overrides(["a.x=9"], tmp_path / name) == {"a": {"x": 9, "y": 2}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.toml", "x ="),
        ("s.json", "{"),
        ("s.toml", "x = 1"),
        ("s.json", "[]"),
        ("s.json", "3"),
        ("s.json", '{"a": 1}'),
        ("s.yaml", "a: {x: 1}"),
    ],
)
def test_bad_files(tmp_path, name, text) -> None:
    """A file that does not parse, or holds no table a stage, is refused by name."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=name):
        read_overrides([], tmp_path / name)
    with pytest.raises(SettingsError, match="no such file"):
        read_overrides([], tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match="is a directory; expected a TOML or JSON file"):
        read_overrides([], tmp_path)


def test_shards_are_numbers_by_stage() -> None:
    """The last number given for a stage counts; what is no number of shards is named, all at once."""
    assert read_shards(["a=3", "b=1", "a=64"]) == {"a": 64, "b": 1}
    with pytest.raises(SettingsError) as error:
        read_shards(["a", "=2", "b=0", "c=-1", "d=1.5", "e=2"])
    assert [line.split(":")[0] for line in str(error.value).split("\n")] == [
        f"--shards {text}" for text in ("a", "=2", "b=0", "c=-1", "d=1.5")
    ]
