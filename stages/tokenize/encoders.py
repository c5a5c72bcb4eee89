"""Texts to ids through the fastest library that gives the ids of the reference, Hugging Face `tokenizers`.

`gigatoken` and `fastokens` implement byte-level BPE with a cache of words that were cut before, a hundred times as fast
as the reference, for the pre-tokenizers that they know. They are given the file without its special tokens, because
text is text: the name of a special token in a document is encoded as its characters, as the reference does with
`encode_special_tokens`. Added tokens that are not special are tokens in text, in all three.

Whether a library gives the reference's ids is tried on texts made to be hard (`probe_texts`) and on the beginning of
the corpus before it is taken. What this gives up: a library that is wrong on nothing but other text is not found out.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.base import SettingsError, num_workers
from stages.tokenize.probe import probe_texts

if TYPE_CHECKING:
    import tokenizers

EncoderName = Literal["gigatoken", "fastokens", "tokenizers"]
Wanted = EncoderName | Literal["auto"]
CACHE_BYTES = 1 << 30  # 80 bytes a new word that gigatoken 0.10 never forgets; ordinary text takes hours to get here
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Ids = npt.NDArray[np.uint32]
Lengths = npt.NDArray[np.int32]


class Encoded(NamedTuple):
    """The ids of N texts one after another, and how many belong to each (N)."""

    ids: Ids
    lengths: Lengths

    def same(self, other: "Encoded") -> bool:
        """Whether both say the same of every text."""
        return np.array_equal(self.lengths, other.lengths) and np.array_equal(self.ids, other.ids)


class Encoder(Protocol):
    """What gives the ids of texts. It may use as many threads as `num_workers()` says."""

    name: EncoderName

    def encode(self, texts: pa.StringArray) -> Encoded:
        """Encode N texts, in order; nothing is added, padded or cut."""


class Reference:
    """Hugging Face `tokenizers`: takes every tokenizer.json; 1 to 3 MB/s a core."""

    name: EncoderName = "tokenizers"

    def __init__(self, tokenizer: "tokenizers.Tokenizer") -> None:
        self.tokenizer = tokenizer

    def encode(self, texts: pa.StringArray) -> Encoded:
        """Encode N texts, through a list of ids each: this library has no other way."""
        encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        found = [np.array(e.ids, np.uint32) for e in encodings]
        return Encoded(np.concatenate([np.zeros(0, np.uint32), *found]), np.array([len(i) for i in found], np.int32))


class Fastokens:
    """`fastokens`: its cache of words is bounded (700 MB in all after 600 MB of words that never repeat)."""

    name: EncoderName = "fastokens"

    def __init__(self, file: Path) -> None:
        import fastokens

        self._tokenizer = fastokens.Tokenizer.from_json_str(without_special_tokens(file))

    def encode(self, texts: pa.StringArray) -> Encoded:
        """Encode N texts."""
        ids, offsets = self._tokenizer.encode_batch_flat(texts.to_pylist(), add_special_tokens=False)
        return Encoded(np.frombuffer(ids, "<u4"), np.diff(np.frombuffer(offsets, "<u8")).astype(np.int32))


class Gigatoken:
    """`gigatoken`: reads Arrow's own bytes. Its cache of words has no bound (0.10), so it starts anew when it is large."""

    name: EncoderName = "gigatoken"

    def __init__(self, file: Path) -> None:
        self._json = without_special_tokens(file)
        self._begin()

    def _begin(self) -> None:
        import gigatoken

        self._tokenizer = gigatoken.Tokenizer.from_json(self._json)
        self._resident_bytes: int | None = None

    def encode(self, texts: pa.StringArray) -> Encoded:
        """Encode N texts."""
        if self._resident_bytes is not None and resident_bytes() > self._resident_bytes + CACHE_BYTES:
            del self._tokenizer  # two at once would need the memory that this is to free
            self._begin()
        layout = self._tokenizer.encode_batch(awkward_strings(texts), parallel=True).layout
        if self._resident_bytes is None:
            self._resident_bytes = resident_bytes()
        offsets = np.asarray(layout.offsets.data)
        return Encoded(np.asarray(layout.content.data)[offsets[0] : offsets[-1]], np.diff(offsets).astype(np.int32))


FAST: dict[EncoderName, Callable[[Path], Encoder]] = {"gigatoken": Gigatoken, "fastokens": Fastokens}


def awkward_strings(texts: pa.StringArray) -> Any:
    """The same strings as an array of `awkward`, which shares the bytes of Arrow's."""
    import awkward as ak

    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    characters = np.frombuffer(data if data is not None else b"", np.uint8)
    content = ak.contents.NumpyArray(characters, parameters={"__array__": "char"})
    index = ak.index.Index64(starts.astype(np.int64))
    return ak.Array(ak.contents.ListOffsetArray(index, content, parameters={"__array__": "string"}))


def without_special_tokens(file: Path) -> str:
    """A tokenizer.json in which the special tokens are no tokens, nothing is added, padded or cut."""
    data = json.loads(file.read_text(encoding="utf-8"))
    data["added_tokens"] = [t for t in data.get("added_tokens") or [] if not t.get("special")]
    return json.dumps(data | {"truncation": None, "padding": None, "post_processor": None})


def resident_bytes() -> int:
    """Memory of this process now; 0 where the system does not say (only Linux does)."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * PAGE_BYTES if file.exists() else 0


def choose(tokenizer: "tokenizers.Tokenizer", file: Path, wanted: Wanted, samples: Sequence[str] = ()) -> Encoder:
    """The encoder asked for, or the fastest that gives the reference's ids; `SettingsError` if the one asked for does not.

    `tokenizer` is `file` as `stages.stream.vocabulary.load` reads it, `samples` are texts to try beside the hard ones.
    """
    os.environ["RAYON_NUM_THREADS"] = str(num_workers())  # all three read it once, when they first work
    reference = Reference(tokenizer)
    if wanted == "tokenizers":
        return reference
    texts = pa.array([*probe_texts(tokenizer), *samples], pa.string())
    expected = reference.encode(texts)
    for name in FAST if wanted == "auto" else (wanted,):
        try:
            encoder = _tried(name, file, texts, expected)
        except LookupError as error:
            if wanted != "auto":
                raise SettingsError(f"tokenize.encoder: {error}; set it to auto") from None
            print(f"tokenize: {error}", file=sys.stderr)
        else:
            print(f"tokenize: encoding with {name} {version(name)}", file=sys.stderr)
            return encoder
    print("tokenize: encoding with tokenizers, about 100 times slower", file=sys.stderr)
    return reference


def _tried(name: EncoderName, file: Path, texts: pa.StringArray, expected: Encoded) -> Encoder:
    """An encoder that gives the expected ids; `LookupError` says why there is none."""
    if find_spec(name) is None:
        raise LookupError(f"{name} is not installed (pip install -e '.[tokenize]')")
    try:
        encoder = FAST[name](file)
        found = encoder.encode(texts)
    except BaseException as error:  # a panic in Rust is a BaseException
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise LookupError(f"{name} does not take this tokenizer: {str(error).splitlines()[0]}") from None
    if not found.same(expected):
        raise LookupError(f"{name} gives other ids than tokenizers with this tokenizer")
    return encoder
