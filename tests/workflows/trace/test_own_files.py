"""The page on tokens: its stage for token files of others works as it stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import tokenizers

from schemas.tokens import TokenizedDocument
from stages.base import PACKAGE_ROOT
from stages.tables import Reader
from tests.stages.model.token_files import train_bpe, write_pair
from tests.workflows.trace.life import trained
from workflows.trace.answers import document, licences
from workflows.trace.training import Training

TEXTS = [f"Sample {i} of basalt, {i * 7} µm wide. " * 9 for i in range(12)]


def test_the_pages_stage_adopts_token_files(tmp_path: Path) -> None:
    """Pairs that another writer made become tables by the page's own code, and a run on them is traced."""
    (code,) = re.findall(r"```python\n(.*?)```", (PACKAGE_ROOT / "docs" / "tokens.md").read_text(), re.DOTALL)
    (tmp_path / "adopt.py").write_text(code)
    bpe = train_bpe(TEXTS, 300, tmp_path / "tokenizer.json")
    ids = [[*bpe.encode(text).ids, 0] for text in TEXTS]
    pairs = []
    for split, source, licence, some in (
        ("train", "books", "CC0-1.0", ids[:7]),
        ("train", "web", "CC-BY-4.0", ids[7:11]),
        ("validation", "web", "CC-BY-4.0", ids[11:]),
    ):
        file, _ = write_pair(tmp_path / "files", f"{split}-{source}", some)
        pairs.append([split, source, licence, str(file.with_suffix(""))])
    settings = {"tokenizer": str(tmp_path / "tokenizer.json"), "eod_token": "<|endoftext|>", "pairs": pairs}
    (tmp_path / "adopt.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "adopt", "--config", "adopt.json", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    tables = {"tokens": "shards", "documents": "documents", "tokenizer": "tokenizer"}
    folders = {name: tmp_path / "out" / table for name, table in tables.items()}
    rows = list(Reader(folders["documents"], TokenizedDocument).rows())
    assert [r.num_bytes for r in rows] == [len(t.encode()) for t in TEXTS]
    training = Training.open(trained(folders, tmp_path / "train", num_steps=30))
    answer = licences(training)
    assert {s["licence"] for s in answer["shares"]} == {"CC0-1.0", "CC-BY-4.0"}
    assert sum(s["num_tokens"] for s in answer["shares"]) == 30 * 8 * 32
    assert document(training, rows[3].doc_id[:10])["steps"]
    assert document(training, rows[-1].doc_id)["never"] == "it is held out (validation)"
    assert (
        tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).decode(np.array(ids[0]).tolist()) == TEXTS[0]
    )
