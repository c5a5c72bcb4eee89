from pathlib import Path

import pytest

from schemas.training import Conversation, Preference
from stages.posttrain.chat import chat_tokenizer
from stages.posttrain.rows import conversation_examples, preference_examples
from tests.stages.posttrain import tiny


def conversation(*pairs: tuple[str, str], split: str = "train") -> Conversation:
    """A row of these turns."""
    fields = {"row_id": "c", "messages": tiny.turns(*pairs), "split": split, "doc_id": "d", "licence": None}
    return Conversation.model_validate(fields)


def preference(prompt: str, chosen: str, rejected: str) -> Preference:
    """A row of one question and two answers; an empty string is no message at all."""
    sides = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    fields = {name: tiny.turns(pair) if pair[1] else [] for name, pair in sides.items()}
    return Preference.model_validate({**fields, "row_id": "p", "split": "train", "doc_id": "d", "licence": None})


def test_splits(base: Path) -> None:
    """Rows go to the split that they name, in order and word for word."""
    rows = tiny.conversations(12)
    found = conversation_examples(rows, chat_tokenizer(base), 96)
    assert [len(found.train), len(found.validation), found.left_out.total()] == [10, 2, 0]
    assert found.validation[0]["messages"] == [m.model_dump() for m in rows[5].messages]


def test_length_limit_is_exact(base: Path) -> None:
    """A conversation of just the limit is kept, and of one token more is not."""
    words = chat_tokenizer(base)
    row = tiny.conversations(1)[0]
    length = len(words.apply_chat_template([m.model_dump() for m in row.messages], tokenize=True, return_dict=False))
    assert conversation_examples([row], words, length).left_out == {}
    assert conversation_examples([row], words, length - 1).left_out == {"too long": 1}


def test_what_is_left_out_is_told(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that are left out are counted by reason, and the counts are printed."""
    good = ("user", "What?"), ("assistant", "It is 4.")
    rows = [conversation(*good), conversation(("user", "a"), ("user", "b")), conversation(("user", "x" * 400), good[1])]
    found = conversation_examples(rows, chat_tokenizer(base), 96)
    assert found.left_out == {"no answer": 1, "too long": 1}
    assert len(found.train) == 1
    said = capsys.readouterr().err
    assert "left out 1 of 3 conversations: no answer\n" in said
    assert "left out 1 of 3 conversations: too long (over 96 tokens)\n" in said


def test_preferences_that_teach_nothing(base: Path) -> None:
    """A pair without a prompt, without an answer, of equal answers, or with one answer too long is left out."""
    rows = [
        preference("What?", "4", "5"),
        preference("", "4", "5"),
        preference("What?", "", "5"),
        preference("What?", "4", ""),
        preference("What?", "4", "4"),
        preference("What?", "4", "5" * 200),
        preference("What?", "4" * 200, "5"),
    ]
    found = preference_examples(rows, chat_tokenizer(base), 96)
    assert found.left_out == {"no answer": 3, "equal answers": 1, "too long": 2}
    assert [e["chosen"][0]["content"] for e in found.train] == ["4"]
