"""Byte-level BPE (Sennrich et al. 2016; GPT-2's bytes, Radford et al. 2019) by the `tokenizers` library.

Text is cut by GPT-2's pattern, each digit apart, so that a number is its digits and arithmetic has a chance (Llama
does the same). Every byte is a token: any text is encoded, and decoding gives it back exactly.
"""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from stages.base import SettingsError, num_workers
from stages.tokenize import SPECIAL_TOKENS

os.environ.setdefault("RAYON_NUM_THREADS", str(num_workers()))  # read once, when the library first works

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

MIN_FREQUENCY = 2  # a pair seen once in the whole corpus teaches a model nothing


def train(texts: Iterator[list[str]], vocab_size: int, file: Path) -> None:
    """Train on batches of texts and write `file` (tokenizer.json), by rename; same texts, same bytes."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    temporary = file.with_suffix(".tmp")
    tokenizer.save(str(temporary))
    temporary.replace(file)


def load(file: Path) -> Tokenizer:
    """Read a tokenizer.json so that it encodes text as text: no special ids, nothing added, padded or cut."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise SettingsError(f"tokenize.tokenizer: {file} is not a tokenizer.json: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def num_ids(tokenizer: Tokenizer) -> int:
    """Rows that an embedding needs: the highest id and one, also where ids have gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of `token`; `SettingsError` with the nearest names if the tokenizer does not have it."""
    found = tokenizer.token_to_id(token)
    if found is None:
        names = [t.content for t in tokenizer.get_added_tokens_decoder().values()]
        near = difflib.get_close_matches(token, names, n=3, cutoff=0.0)
        raise SettingsError(f"tokenize.eod_token: the tokenizer has no token {token!r}; it has {', '.join(near)}")
    return int(found)
