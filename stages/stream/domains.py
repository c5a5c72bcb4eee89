"""Which domain each token of a text belongs to: the kind of text (see `kinds`) in which the token's last byte stands.

The tables of tokens keep a document's source and no type, and one paper holds prose, formulas, numbers and SMILES, so a
domain is told by the text itself, stretch by stretch. Tokens of a byte-level vocabulary (Radford et al. 2019) are written
with one character a byte, so that tokens and kinds meet on bytes, exactly, and nothing is encoded again. What it gives
up: other vocabularies, whose tokens have no bytes of their own.
"""

from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from schemas.tokens import TextKind
from stages.stream.kinds import spans
from stages.stream.vocabulary import num_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DOMAINS: tuple[TextKind, ...] = get_args(TextKind)
NO_TEXT = len(DOMAINS)  # the domain of a token that writes nothing, as the end token

PRINTED = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
OTHERS = [byte for byte in range(256) if byte not in PRINTED]
BYTES = {chr(b): b for b in PRINTED} | {chr(256 + place): b for place, b in enumerate(OTHERS)}
"""The byte that each character of a byte-level token stands for: itself where it can be printed, else one from 256 on."""


class Told(NamedTuple):
    """Of each token its domain, an index of `DOMAINS` or `NO_TEXT`, and how many bytes it writes."""

    domains: npt.NDArray[np.int8]
    num_bytes: npt.NDArray[np.int64]


class Domains:
    """Tells the tokens of a vocabulary apart. `written` are the bytes of each id; special tokens write none."""

    def __init__(self, written: list[bytes]) -> None:
        self.written = written
        self._sizes = np.array([len(w) for w in written], np.int64)

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "Domains | None":
        """The domains of a tokenizer; none if its vocabulary is not byte-level."""
        from tokenizers import decoders

        if not isinstance(tokenizer.decoder, decoders.ByteLevel):
            return None
        written = [b""] * num_ids(tokenizer)
        for token, number in tokenizer.get_vocab(with_added_tokens=False).items():
            written[number] = bytes(BYTES[c] for c in token) if BYTES.keys() >= set(token) else token.encode()
        for number, added in tokenizer.get_added_tokens_decoder().items():
            written[number] = b"" if added.special else added.content.encode()
        return cls(written)

    def tell(self, tokens: npt.NDArray[np.integer]) -> Told:
        """The domain and the bytes of each token of one document."""
        sizes = self._sizes[tokens]
        written = b"".join([self.written[t] for t in tokens.tolist()])
        text = written.decode(errors="surrogateescape")  # whatever the tokens write, its bytes are counted
        cut = spans(text)
        stops = np.cumsum([len(text[s.start : s.end].encode(errors="surrogateescape")) for s in cut])
        kinds = np.array([*(DOMAINS.index(s.kind) for s in cut), NO_TEXT], np.int8)
        found = kinds[np.searchsorted(stops, np.cumsum(sizes) - 1, side="right")]
        found[sizes == 0] = NO_TEXT
        return Told(found, sizes)
