"""How near two texts are in meaning: cosine of sentence embeddings (Reimers and Gurevych 2019), mean over the tokens."""

from functools import lru_cache
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

MAX_TOKENS = 256  # what these models are trained on


class Embeddings:
    """A sentence-embedding model in the Hugging Face layout, such as all-MiniLM-L6-v2."""

    def __init__(self, folder: str) -> None:
        path = Path(folder).expanduser()
        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.model = AutoModel.from_pretrained(path, local_files_only=True).eval()
        self.embed = lru_cache(maxsize=1 << 12)(self._embed)

    def cosine(self, a: str, b: str) -> float:
        """1 for the same meaning, about 0 for none in common."""
        return float(self.embed(a) @ self.embed(b))

    def _embed(self, text: str) -> torch.Tensor:
        inputs = self.tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.no_grad():
            states = self.model(**inputs).last_hidden_state[0]  # tokens x width
        mean = states.mean(0)
        unit: torch.Tensor = mean / mean.norm()
        return unit
