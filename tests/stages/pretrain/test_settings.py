import pytest

from stages.base import SettingsError
from stages.index import Index
from stages.pretrain import Pretrain


def test_the_defaults_are_valid() -> None:
    """The stage runs with no settings at all, on an index with none."""
    assert Pretrain.parse({}).warmup_steps < Index().num_steps


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depht": 3}, "did you mean pretrain.depth"),
        ({"depth": 0}, "pretrain.depth"),
        ({"learning_rate": 0}, "pretrain.learning_rate"),
        ({"precision": "fp8"}, "'fp32' or 'bf16'"),
        ({"zero_stage": 4}, "pretrain.zero_stage"),
        ({"engine": "megatron"}, "'native' or 'deepspeed'"),
        ({"tensor_parallel": 0}, "pretrain.tensor_parallel"),
        ({"num_steps": 10}, "no such setting"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], words: str) -> None:
    """Each wrong setting is named before anything runs."""
    with pytest.raises(SettingsError, match=words):
        Pretrain.parse(settings)


def test_all_problems_come_at_once() -> None:
    """Two wrong settings are two lines of one message."""
    with pytest.raises(SettingsError) as error:
        Pretrain.parse({"depth": 0, "seed": -1})
    assert len(str(error.value).splitlines()) == 2
