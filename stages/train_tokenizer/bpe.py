"""Byte-level BPE (Sennrich et al. 2016; GPT-2's bytes, Radford et al. 2019) by the `tokenizers` library.

Text is cut by GPT-2's pattern, each digit apart, so that a number is its digits and arithmetic has a chance (Llama
does the same). Every byte is a token: any text is encoded, and decoding gives it back exactly.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from stages.base import num_workers
from stages.stream.vocabulary import SPECIAL_TOKENS

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
