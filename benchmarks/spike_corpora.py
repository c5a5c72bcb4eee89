"""Real text as ids, for curves that are trained on it: papers, records, program text, and the tokens of a run of `make demo`."""

import gzip
import json
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

END = "<|end|>"
VOCABULARY = {"papers": 1024, "records": 512, "more papers": 2048, "python": 1024}
MAX_CHARACTERS = 1_000_000


class Corpus(NamedTuple):
    """Ids of documents one after the other, an end token after each."""

    ids: Tensor
    vocab_size: int

    def batches(self, sequences: int, tokens: int, seed: int) -> Iterator[Tensor]:
        """Sequences x (tokens + 1): windows side by side, in an order of chance, over and over."""
        chance = torch.Generator().manual_seed(seed)
        starts = torch.arange(0, len(self.ids) - tokens, tokens)
        if not len(starts):
            raise ValueError(f"{len(self.ids)} ids: a window has {tokens + 1}")
        window, order = torch.arange(tokens + 1), torch.empty(0, dtype=torch.int64)
        while True:
            while len(order) < sequences:
                order = torch.cat((order, starts[torch.randperm(len(starts), generator=chance)]))
            yield self.ids[order[:sequences, None] + window]
            order = order[sequences:]


def open_corpus(name: str, data: Path, demo: Path | None) -> Corpus:
    """A corpus by its name, from the folder `../shared/data` or from the runs of a demo."""
    if name == "demo":
        assert demo is not None, "the demo's runs are asked for before this"
        return _demo(demo)
    texts = list(_cut(_texts(name, data)))
    return _learned(texts, VOCABULARY[name])


def _demo(runs: Path) -> Corpus:
    files = sorted(runs.glob("tokenize/*/tokens/*/train-*.bin"))
    ids = torch.from_numpy(np.concatenate([np.fromfile(f, "<u2") for f in files]).astype(np.int64))
    return Corpus(ids, int(ids.max()) + 1)


def _texts(name: str, data: Path) -> Iterator[str]:
    if name == "records":
        yield from (data / "records" / "compounds-600.jsonl").read_text().splitlines()
        yield from (data / "records" / "mp-transport-1000.csv").read_text().splitlines()
    elif name == "python":
        for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
            yield file.read_text()
    else:
        file = {"papers": "pmc-ccby-260.jsonl.gz", "more papers": "pmc-ccby-1240-more.jsonl.gz"}[name]
        with gzip.open(data / "corpora" / file, "rt") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def _cut(texts: Iterator[str]) -> Iterator[str]:
    total = 0
    for text in texts:
        if (total := total + len(text)) > MAX_CHARACTERS:
            return
        yield text


def _learned(texts: Sequence[str], vocab_size: int) -> Corpus:
    """Ids by a byte-level BPE that is learned from the texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    end = bpe.token_to_id(END)
    ids = [i for one in bpe.encode_batch(texts) for i in (*one.ids, end)]
    return Corpus(torch.tensor(ids), bpe.get_vocab_size())
