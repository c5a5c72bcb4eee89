"""A tokenizer file is read the same way by all: text is text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from stages.base import PACKAGE_ROOT, SettingsError
from stages.posttrain.chat import END_TOKEN, ROLE_TOKENS
from stages.stream.vocabulary import CHAT_TOKENS, SPECIAL_TOKENS, load, num_ids, special_id

TEXT = "Is <|endoftext|> text? <|user|>hi<|end|> 1,234.5 µm"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a tokenizer of bytes."""
    vocab = {c: i for i, c in enumerate([*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(tmp_path / "bytes.json"))
    return tmp_path / "bytes.json"


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Encode as stages do."""
    return list(tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids)


def test_names_of_special_tokens_are_text(file: Path) -> None:
    """A special token's name in a text is its bytes, each a token, and comes back."""
    tokenizer = load(file)
    assert min(ids(tokenizer, TEXT)) >= len(SPECIAL_TOKENS)
    assert len(ids(tokenizer, TEXT)) == len(TEXT.encode())
    assert tokenizer.decode(ids(tokenizer, TEXT), skip_special_tokens=False) == TEXT


def test_a_given_file_pads_and_cuts_nothing(file: Path, tmp_path: Path) -> None:
    """Padding, a limit on the length and a template that adds tokens do not act, though the file has them."""
    given = Tokenizer.from_file(str(file))
    given.enable_truncation(8)
    given.enable_padding(length=5000)
    given.post_processor = TemplateProcessing(single="<|user|> $A", special_tokens=[("<|user|>", 2)])
    given.save(str(tmp_path / "other.json"))
    assert ids(load(tmp_path / "other.json"), TEXT) == ids(load(file), TEXT)


def test_rows_of_an_embedding(file: Path, tmp_path: Path) -> None:
    """The size of a vocabulary is its highest id and one, gaps included."""
    assert num_ids(load(file)) == 256 + len(SPECIAL_TOKENS)
    data = json.loads(file.read_text())
    data["model"]["vocab"]["far"] = 1000
    (tmp_path / "gaps.json").write_text(json.dumps(data))
    assert num_ids(load(tmp_path / "gaps.json")) == 1001


def test_a_token_it_does_not_have(file: Path) -> None:
    """An unknown special token is refused with the nearest names."""
    assert special_id(load(file), "<|end|>") == 4
    with pytest.raises(SettingsError, match=r"no token '<\|endoftxt\|>'; .* has: <\|endoftext\|>"):
        special_id(load(file), "<|endoftxt|>")


@pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"model": {"type": "Nothing"}}'])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    """A file of something else is refused by name."""
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(SettingsError, match=r"tokenizer\.json is not a tokenizer"):
        load(tmp_path / "tokenizer.json")


def test_post_training_finds_its_tokens_where_they_were() -> None:
    """The tokens of a chat keep the five lowest ids, whatever is added after them."""
    assert SPECIAL_TOKENS[: len(CHAT_TOKENS)] == ("<|endoftext|>", *ROLE_TOKENS, END_TOKEN)


def test_names_are_light() -> None:
    """A declaration that names a special token loads no `tokenizers` and sets no variable."""
    code = "import os, sys; before = dict(os.environ); import stages.stream.vocabulary; "
    code += "print('tokenizers' in sys.modules, dict(os.environ) == before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
