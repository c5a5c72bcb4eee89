from typing import Any

import pytest

from stages.base import SettingsError
from stages.index import Index
from workflows.overrides import read_overrides


def test_the_defaults_are_valid() -> None:
    """The stage needs no settings: the demo's run of 400 steps of 8 sequences of 256 tokens."""
    stage = Index.parse({})
    assert (stage.num_steps, stage.batch_sequences, stage.sequence_tokens) == (400, 8, 256)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_step": 3}, "did you mean index.num_steps"),
        ({"sequence_tokens": 4}, "index.sequence_tokens"),
        ({"batch_sequences": 1 << 23}, "index.batch_sequences"),
        ({"seed": 1 << 32}, "index.seed"),
        ({"order": "random"}, "'virtual' or 'megatron'"),
        ({"weights": {"a": -1}}, "index.weights.a"),
        ({"weights": {"a": 0, "b": 1}}, "index.weights.a"),
        ({"weights": "a=2"}, "index.weights"),
        ({"temperature": 0}, "index.temperature"),
        ({"temperature": 2, "weights": {"a": 1}}, "temperature 2 is for weights by size"),
        ({"order": "megatron", "packing": "best_fit"}, "order megatron has no packing best_fit"),
        ({"order": "megatron", "phases": [{"until": 1}]}, "order megatron has no phases"),
        ({"order": "megatron", "middle_fraction": 0.5}, "order megatron has no middle_fraction"),
        ({"phases": [{"until": 0.5}]}, "`until` must rise to 1, found 0.5"),
        ({"phases": [{"until": 0.5}, {"until": 0.5}, {"until": 1}]}, "found 0.5, 0.5, 1"),
        ({"phases": [{"until": 1.5}]}, "index.phases.0.until"),
        ({"phases": [{"until": 1, "weight": {"a": 1}}]}, "index.phases.0.weight: no such setting"),
        ({"phases": [{"until": 1}], "weights": {"a": 1}}, "give one of the two"),
        ({"middle_sources": ["code"]}, "middle_fraction is 0"),
        ({"middle_fraction": 0.5}, "no middle_sources are named"),
        ({"middle_fraction": 1.1}, "index.middle_fraction"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    """Each wrong setting, and each combination that means nothing, is named before anything runs."""
    with pytest.raises(SettingsError, match=words):
        Index.parse(settings)


def test_all_problems_come_at_once() -> None:
    """Combinations that mean nothing are a line each of one message."""
    settings = {"order": "megatron", "packing": "best_fit", "middle_sources": ["a"], "phases": [{"until": 0.3}]}
    with pytest.raises(SettingsError) as error:
        Index.parse(settings)
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("index: ") for line in lines)
    for words in ("no packing best_fit", "no phases", "middle_fraction is 0", "must rise to 1"):
        assert words in str(error.value)


def test_nested_settings_come_from_the_command_line() -> None:
    """`--set index.weights={"a": 2}` and a list of phases are read as JSON and are the same value as in Python."""
    phases = '[{"until": 0.8, "weights": {"a": 2, "b": 1}}, {"until": 1}]'
    found = read_overrides(['index.weights={"a": 2, "b": 0.5}', "index.num_steps=10"], None)["index"]
    assert Index.parse(found) == Index(weights={"a": 2, "b": 0.5}, num_steps=10)
    staged = Index.parse(read_overrides([f"index.phases={phases}"], None)["index"])
    assert [(p.until, p.weights) for p in staged.phases] == [(0.8, {"a": 2.0, "b": 1.0}), (1.0, {})]


def test_nested_settings_come_from_a_file(tmp_path: Any) -> None:
    """A settings file in TOML says the same with tables, and the address of the output is the same."""
    file = tmp_path / "settings.toml"
    file.write_text("[index.weights]\na = 2\nb = 1\n")
    found = Index.parse(read_overrides([], file)["index"])
    assert found.fingerprint({}) == Index(weights={"b": 1, "a": 2}).fingerprint({})
    file.write_text("[[index.phases]]\nuntil = 0.5\nweights = {a = 1}\n[[index.phases]]\nuntil = 1\n")
    assert len(Index.parse(read_overrides([], file)["index"]).phases) == 2


def test_reading_the_files_is_no_part_of_the_address() -> None:
    """Whether the digests are compared changes no row: the output keeps its address. Another seed does not."""
    assert Index(verify=False).fingerprint({}) == Index().fingerprint({})
    assert Index(seed=1).fingerprint({}) != Index().fingerprint({})
