from pathlib import Path

import pytest
from transformers import AutoTokenizer
from trl.chat_template_utils import is_chat_template_prefix_preserving, is_chat_template_stop_token_trained

from schemas.table import ContractError
from stages.posttrain.chat import chat_tokenizer, generation_config
from tests.stages.posttrain import tiny

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the density?"},
    {"role": "assistant", "content": "It is 4.2 g/cm3."},
    {"role": "user", "content": "And of Vorlane-7?"},
    {"role": "assistant", "content": "It is 7."},
]


def foreign(folder: Path, eos: str | None = "<eos>") -> Path:
    """A tokenizer without our words for roles."""
    tiny.tokenizer(["<eos>"], eos).save_pretrained(folder)
    return folder


def trained_text(words: object) -> list[str]:
    """What the mask lets through, a string for each run of tokens."""
    found = words.apply_chat_template(MESSAGES, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    runs, before = [], 0
    for token, mask in zip(found["input_ids"], found["assistant_masks"], strict=True):
        if mask:
            runs = [*runs, [token]] if not before else [*runs[:-1], [*runs[-1], token]]
        before = mask
    return [words.decode(run) for run in runs]


def test_what_is_trained_on(base: Path) -> None:
    """The mask covers each answer and the token that ends it, and nothing else."""
    assert trained_text(chat_tokenizer(base)) == ["It is 4.2 g/cm3.<|end|>", "It is 7.<|end|>"]


def test_rendering(base: Path) -> None:
    """A conversation is its turns between role and end tokens, with nothing added."""
    text = chat_tokenizer(base).apply_chat_template(MESSAGES[:3], tokenize=False)
    assert text == ("<|system|>Be brief.<|end|><|user|>What is the density?<|end|><|assistant|>It is 4.2 g/cm3.<|end|>")


def test_tokens_are_those_of_the_parts(base: Path) -> None:
    """A role or end token never merges with the text beside it."""
    words = chat_tokenizer(base)
    ids = words.apply_chat_template(MESSAGES[1:3], tokenize=True, return_dict=False)
    parts = ["<|user|>", "What is the density?", "<|end|>", "<|assistant|>", "It is 4.2 g/cm3.", "<|end|>"]
    assert ids == [token for part in parts for token in words(part)["input_ids"]]


@pytest.mark.parametrize("kind", ["ours", "foreign"])
def test_templates_pass_the_checks_of_trl(kind: str, base: Path, tmp_path: Path) -> None:
    """TRL agrees that the stop token is trained on and that earlier turns render the same as the talk goes on."""
    words = chat_tokenizer(base if kind == "ours" else foreign(tmp_path))
    assert is_chat_template_stop_token_trained(words)
    assert is_chat_template_prefix_preserving(words)


@pytest.mark.parametrize("kind", ["ours", "foreign"])
def test_the_prompt_is_the_beginning_of_the_answered_talk(kind: str, base: Path, tmp_path: Path) -> None:
    """What the model is asked with is, token by token, the beginning of what it was trained on."""
    words = chat_tokenizer(base if kind == "ours" else foreign(tmp_path))
    asked = words.apply_chat_template(MESSAGES[:2], tokenize=True, add_generation_prompt=True, return_dict=False)
    told = words.apply_chat_template(MESSAGES[:3], tokenize=True, return_dict=False)
    assert told[: len(asked)] == asked
    assert len(told) > len(asked)


def test_foreign_tokenizer_keeps_its_size(tmp_path: Path) -> None:
    """Without words for roles the roles are plain text, and no word is added."""
    words = chat_tokenizer(foreign(tmp_path))
    assert len(words) == len(tiny.tokenizer(["<eos>"], "<eos>"))
    assert trained_text(words) == ["It is 4.2 g/cm3.<eos>", "It is 7.<eos>"]
    assert words.apply_chat_template(MESSAGES[1:2], tokenize=False) == "User:\nWhat is the density?\n"


def test_foreign_template_with_marks_is_kept(tmp_path: Path) -> None:
    """A template that already marks the answers is the model's own and stays."""
    words = tiny.tokenizer()
    words.chat_template = "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}"
    words.save_pretrained(tmp_path)
    assert chat_tokenizer(tmp_path).chat_template == words.chat_template


def test_no_token_can_end_a_turn(tmp_path: Path) -> None:
    """A tokenizer with neither an end-of-turn nor an end-of-text token is refused."""
    with pytest.raises(ContractError, match="neither"):
        chat_tokenizer(foreign(tmp_path, eos=None))


def test_saved_tokenizer_reads_the_same(base: Path, tmp_path: Path) -> None:
    """Anybody who loads the saved tokenizer by AutoTokenizer gets the same ids and the same talk."""
    ours = chat_tokenizer(base)
    ours.save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "What is the density of Vorlane-7?  4.2 µg <|end|>\n\tfin"
    assert theirs(text)["input_ids"] == tiny.tokenizer()(text)["input_ids"]
    assert theirs.apply_chat_template(MESSAGES, tokenize=False) == ours.apply_chat_template(MESSAGES, tokenize=False)


def test_generation_stops_at_the_end_of_a_turn(base: Path) -> None:
    """Generation ends at the end of a turn and at the end of a text."""
    words = chat_tokenizer(base)
    config = generation_config(base, words)
    assert config.eos_token_id == words.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
