from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir
from huggingface_hub.utils import validate_repo_id
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import cached_file

from schemas.training import Model
from stages.deploy.snapshot import link_snapshot, served_name
from stages.model.folder import only_model
from stages.tables import Reader


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo-chat", "demo-chat"),
        ("a/b chat", "a-b-chat"),
        ("--x..y--z", "x.y-z"),
        ("x.gguf", "x.gguf"),
        ("µ", "model"),
        ("a" * 200, "a" * 90),
    ],
)
def test_names(name: str, expected: str) -> None:
    """A name stays as it is where it can, and loses what a repository's name cannot have."""
    assert served_name(name) == expected


@given(st.text(max_size=120))
def test_every_name_is_allowed(name: str) -> None:
    """Whatever a model is called, the hub's own check accepts the served name, and it names no folder and revision."""
    served = served_name(name)
    validate_repo_id(served)
    assert not {"/", "@", ":"} & set(served)


def test_hub_finds_the_model(model: Path, tmp_path: Path) -> None:
    """Hugging Face's own tools see one model with all its files in the cache, and find them by the short name."""
    row, folder = only_model(Reader(model, Model))
    name = link_snapshot(tmp_path / "hub", row, folder)
    (repository,) = scan_cache_dir(tmp_path / "hub").repos
    assert (repository.repo_id, repository.repo_type) == ("tiny-chat", "model")
    (revision,) = repository.revisions
    assert {f.file_name for f in revision.files} == {f.name for f in folder.iterdir()}
    found = cached_file(name, "config.json", cache_dir=str(tmp_path / "hub"), local_files_only=True)
    assert Path(str(found)).read_bytes() == (folder / "config.json").read_bytes()


def test_another_model_replaces_the_first(model: Path, tmp_path: Path) -> None:
    """The cache holds the one model that is served, and no trace of an earlier one."""
    row, folder = only_model(Reader(model, Model))
    link_snapshot(tmp_path / "hub", row, folder)
    link_snapshot(tmp_path / "hub", row.model_copy(update={"name": "second"}), folder)
    assert [r.repo_id for r in scan_cache_dir(tmp_path / "hub").repos] == ["second"]
    assert (folder / "config.json").is_file()
