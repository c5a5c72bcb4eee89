"""A tokenizer file (`tokenizer.json`, Hugging Face format) as every stage reads it: text is text, ids are exact.

A special token's name that stands in a text (`<|user|>`, say) is encoded as its characters; nothing is added, padded or
cut. This file is imported by declarations, so `tokenizers` is loaded where it is first needed.
"""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stages.base import SettingsError, num_workers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHAT_TOKENS = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
MIDDLE_TOKENS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")  # fill in the middle (Bavarian et al. 2022)
SPECIAL_TOKENS = CHAT_TOKENS + MIDDLE_TOKENS  # their ids are their places here: what is new goes to the end


def load(file: Path) -> "Tokenizer":
    """Read a tokenizer.json so that it encodes text as text; `SettingsError` names a file that is none."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(num_workers()))  # read once, when the library first works
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise SettingsError(f"{file} is not a tokenizer.json: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def num_ids(tokenizer: "Tokenizer") -> int:
    """Rows that an embedding needs: the highest id and one, also where ids have gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_id(tokenizer: "Tokenizer", token: str) -> int:
    """Return the id of `token`; `SettingsError` with the nearest names if the tokenizer does not have it."""
    found = tokenizer.token_to_id(token)
    if found is None:
        names = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
        near = difflib.get_close_matches(token, names, n=3, cutoff=0.0)
        words = f"the tokenizer has no token {token!r}; the nearest that it has: {', '.join(near) or 'none'}"
        raise SettingsError(f"{words}; name one of these, or train a tokenizer (train_tokenizer.tokenizer='')")
    return int(found)
