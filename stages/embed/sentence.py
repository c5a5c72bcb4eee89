"""Sentence embeddings (Reimers and Gurevych 2019, arXiv 1908.10084): the mean of the states of a text's tokens, of unit length."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from stages.base import SettingsError
from stages.embed import model_folder
from stages.embed.bert import Bert

Vectors = npt.NDArray[np.float32]


class SentenceModel:
    """A sentence-embedding model on disk, such as all-MiniLM-L6-v2."""

    def __init__(self, model: str, setting: str, device: torch.device | None = None) -> None:
        folder = model_folder(model, setting)
        _check_pooling(folder)
        torch.set_num_threads(1)  # texts go side by side; and how a sum is divided would show in its last bits
        self.bert = Bert(folder, device or torch.device("cpu"))
        self.max_tokens = _max_tokens(folder, self.bert.config["max_position_embeddings"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer.enable_padding()
        self._one = lru_cache(maxsize=1 << 12)(lambda text: self([text])[0])

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """A unit vector a text (n, width). What a text has beyond `max_tokens` is not read."""
        encoded = self.tokenizer.encode_batch(list(texts))
        device = self.bert.device
        ids_BT = torch.tensor([e.ids for e in encoded], device=device)
        mask_BT = torch.tensor([e.attention_mask for e in encoded], dtype=torch.bool, device=device)
        with torch.inference_mode():
            states_BTD = self.bert(ids_BT, mask_BT)
            sums_BD = (states_BTD * mask_BT[..., None]).sum(dim=1)
            vectors: Vectors = torch.nn.functional.normalize(sums_BD, dim=-1).cpu().numpy()
        return vectors

    def embed(self, documents: Sequence[Sequence[str]]) -> list[Vectors]:
        """The vectors of each document's chunks, computed without the other documents' beside them."""
        return [self(chunks) for chunks in documents]

    def cosine(self, a: str, b: str) -> float:
        """1 for the same meaning, about 0 for none in common."""
        return float(self._one(a) @ self._one(b))


def _max_tokens(folder: Path, most: int) -> int:
    file = folder / "sentence_bert_config.json"
    return min(most, json.loads(file.read_text())["max_seq_length"]) if file.is_file() else most


def _check_pooling(folder: Path) -> None:
    file = folder / "1_Pooling" / "config.json"
    modes = json.loads(file.read_text()) if file.is_file() else {"pooling_mode_mean_tokens": True}
    chosen = [name for name, on in modes.items() if name.startswith("pooling_mode") and on is True]
    if chosen != ["pooling_mode_mean_tokens"]:
        raise SettingsError(
            f"{folder}: pools by {', '.join(chosen)}, expected pooling_mode_mean_tokens: "
            "let a server run this model, and name it in embed.endpoint"
        )
