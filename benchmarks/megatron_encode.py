"""Megatron's way from text to token files, for `benchmarks.encode`: `python -m benchmarks.megatron_encode IN.jsonl ...`.

What Megatron-LM's `tools/preprocess_data.py` does with `--workers 2 --append-eod`: worker processes parse lines of JSON and
encode a document at a time (`Pool.imap`, 32 lines a task), the parent gives each document's list of ids to Megatron's own
`IndexedDatasetBuilder`. Three things are kinder than the tool: the ids are taken from `tokenizers` directly, where the tool's
wrapper makes strings first and looks each of them up; nothing is imported for training; no line is counted or printed.
"""

import json
import multiprocessing
import sys
import warnings

WORKERS = 2


class Encode:
    """A line of JSON to its ids, in a worker that has the tokenizer."""

    tokenizer = None
    eod_id = 0

    def __init__(self, file: str, eod_token: str) -> None:
        self.file, self.eod_token = file, eod_token

    def start(self) -> None:
        """Load the tokenizer in a worker."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(self.file)
        tokenizer.encode_special_tokens = True
        Encode.tokenizer, Encode.eod_id = tokenizer, tokenizer.token_to_id(self.eod_token)

    def __call__(self, line: str) -> tuple[list[int], list[int]]:
        """The ids of a document and the lengths of its sentences (one)."""
        ids = Encode.tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
        ids.append(Encode.eod_id)
        return ids, [len(ids)]


def main() -> None:
    """Encode a JSON Lines file."""
    source, file, eod_token, prefix, vocab_size = sys.argv[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from megatron.core.datasets import indexed_dataset
    encode = Encode(file, eod_token)
    dtype = indexed_dataset.DType.optimal_dtype(int(vocab_size))
    builder = indexed_dataset.IndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype)
    with multiprocessing.Pool(WORKERS, initializer=encode.start) as pool, open(source, encoding="utf-8") as lines:  # noqa: PTH123
        for ids, lengths in pool.imap(encode, lines, 32):
            builder.add_document(ids, lengths)
    builder.finalize(f"{prefix}.idx")


if __name__ == "__main__":
    main()
