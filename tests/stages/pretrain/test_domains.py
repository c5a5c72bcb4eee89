"""Loss by domain of a run: checked on its exported model, read while it trains, on documents that it never learns from."""

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoModelForCausalLM

from schemas.tokens import TextKind, TokenizedDocument, Tokenizer
from stages.stream.kinds import spans
from stages.tables import Reader
from tests.stages.model.token_files import TokenTables, write_tokens
from tests.stages.pretrain.conftest import Start
from tests.stages.pretrain.test_pretrain import rows

MOLECULES = ("CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "O=C(O)c1ccccc1O")


def paper(seed: int) -> str:
    """A text with all kinds of text in it."""
    chance = random.Random(seed)
    sample, molecule = chance.randint(1, 99), chance.choice(MOLECULES)
    return (
        f"Sample {sample} of {molecule} was held at {chance.randint(100, 999)}.5 K — for some µs — and gave "
        f"\n$$ E_{{{sample}}} = \\frac{{a}}{{{chance.randint(1, 9)}}} $$\n as the theory says, p < 0.0{sample}.\n"
        f"```python\nfor i in range({sample}):\n    print(i)\n```\n| K | GPa |\n|---|---|\n| {sample} | 1.5 |\n\n"
    ) * 2


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> TokenTables:
    """Papers of two sources, six of them held out."""
    splits = {"train": [paper(i) for i in range(12)], "validation": [paper(i) for i in range(100, 106)]}
    return write_tokens(tmp_path_factory.mktemp("papers"), splits, vocab_size=400, sources=("notes", "papers"))


@pytest.fixture(scope="module")
def unbroken(pretrain: Start, papers: TokenTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of twelve steps, measured after six and at its end on all that is held out."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert pretrain(out, papers) == 0
    return out


def with_transformers(model: Path, papers: TokenTables) -> dict[TextKind, tuple[int, int, float]]:
    """Tokens, bytes and nats of each kind, by the exported model and the tokenizer's own offsets, end tokens left out."""
    theirs = AutoModelForCausalLM.from_pretrained(model).eval()
    (row,) = Reader(papers.tokenizer, Tokenizer).rows()
    tokenizer = FastTokenizer.from_file(row.file.path)
    tokens, size, nats = Counter[TextKind](), Counter[TextKind](), Counter[TextKind]()
    for document in (d for d in Reader(papers.documents, TokenizedDocument).rows() if d.split == "validation"):
        ids = [row.eod_id, *np.fromfile(document.bin, "<u2")[document.start :][: document.num_tokens].tolist()]
        text = tokenizer.decode(ids[1:-1])
        ends = [end for _, end in tokenizer.encode(text).offsets]
        kinds = [kind for start, end, kind in spans(text) for _ in range(start, end)]
        for start in range(0, document.num_tokens, 32):
            window = torch.tensor([ids[start : start + 33]])
            with torch.no_grad():
                log_p = theirs(window[:, :-1]).logits.double().log_softmax(-1)
            for i, loss in enumerate(-log_p.gather(2, window[:, 1:, None]).flatten()):
                if start + i < len(ends):
                    kind = kinds[ends[start + i] - 1]
                    tokens[kind] += 1
                    nats[kind] += float(loss)
                    size[kind] += len(tokenizer.id_to_token(ids[1 + start + i]))  # a character a byte
    return {kind: (tokens[kind], size[kind], nats[kind]) for kind in tokens}


def test_domains_are_what_transformers_finds(unbroken: Path, papers: TokenTables) -> None:
    """Tokens, bytes, perplexity and bits a byte of every domain are those of the exported model, window by window."""
    expected = with_transformers(unbroken / "huggingface", papers)
    found = {r["domain"]: r for r in rows(unbroken, "domains") if r["step"] == 12}
    assert found.keys() == {"all", *expected}
    assert len(expected) == 6
    for kind, (num_tokens, num_bytes, nats) in expected.items():
        row = found[kind]
        assert (row["num_tokens"], row["num_bytes"]) == (num_tokens, num_bytes)
        assert row["perplexity"] == pytest.approx(math.exp(nats / num_tokens), rel=1e-5)
        assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)


def test_all_is_the_text(unbroken: Path, papers: TokenTables) -> None:
    """Domains add up to `all`, whose bytes are those of the documents; what the whole loss has beside is the end tokens'."""
    found = {r["domain"]: r for r in rows(unbroken, "domains") if r["step"] == 12}
    everything, parts = found.pop("all"), list(found.values())
    for column in ("num_tokens", "num_bytes", "nats"):
        assert everything[column] == pytest.approx(sum(p[column] for p in parts), rel=1e-12)
    documents = [d for d in Reader(papers.documents, TokenizedDocument).rows() if d.split == "validation"]
    assert everything["num_bytes"] == sum(d.num_bytes for d in documents)
    assert everything["num_tokens"] == sum(d.num_tokens - 1 for d in documents)
    whole = next(r for r in rows(unbroken, "validation") if (r["step"], r["name"]) == (12, "validation"))
    ends = whole["value"] * sum(d.num_tokens for d in documents) - everything["nats"]
    assert 0 < ends < 10 * len(documents)


def test_measured_documents_are_never_learned_from(unbroken: Path, papers: TokenTables) -> None:
    """The table of what is measured names the held-out documents, each with its domain, and no document of the training."""
    documents = list(Reader(papers.documents, TokenizedDocument).rows())
    found = rows(unbroken, "measured")
    assert {r["doc_id"] for r in found} == {d.doc_id for d in documents if d.split == "validation"}
    assert not {r["doc_id"] for r in found} & {d.doc_id for d in documents if d.split == "train"}
    assert all(r["domain"] in {"latex", "code", "prose", "table"} for r in found)


def test_fewer_tokens_are_fewer_documents(pretrain: Start, papers: TokenTables, tmp_path: Path) -> None:
    """`validation_tokens` measures whole documents up to that many tokens, in both tables and by the order's seed."""
    lengths = {d.doc_id: d.num_tokens for d in Reader(papers.documents, TokenizedDocument).rows()}
    chosen = []
    for seed in (0, 1):
        settings: dict[str, Any] = {"validation_tokens": 900, "index": {"num_steps": 6, "seed": seed}}
        out = tmp_path / f"seed-{seed}"
        assert pretrain(out, papers, **settings) == 0
        found = rows(out, "measured")
        assert 0 < sum(lengths[r["doc_id"]] for r in found) <= 900
        everything = next(r for r in rows(out, "domains") if r["domain"] == "all")
        assert everything["num_tokens"] == sum(lengths[r["doc_id"]] - 1 for r in found)
        assert everything["num_bytes"] == sum(r["num_bytes"] for r in found)
        chosen.append([r["doc_id"] for r in found])
    assert chosen[0] != chosen[1]


def test_domains_are_read_while_training_runs(
    pretrain: Start, papers: TokenTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB reads the curves of the domains in the middle of a run, and TensorBoard's file has them too."""
    from stages.pretrain.train import Run

    seen: list[tuple[int, str, float]] = []
    save = Run._save

    def look(run: Run, step: int) -> None:
        if step == 8:
            live = run.outputs.folder / "live" / "domains" / "*.parquet"
            words = "SELECT step, domain, bits_per_byte FROM read_parquet(?) ORDER BY step, domain"
            seen.extend(duckdb.sql(words, params=[str(live)]).fetchall())
        save(run, step)

    monkeypatch.setattr(Run, "_save", look)
    monkeypatch.setattr("stages.pretrain.health.live.FLUSH_SECONDS", 0.0)
    out = tmp_path / "out"
    assert pretrain(out, papers) == 0
    assert [(step, name) for step, name, _ in seen] == [
        (6, name) for name in ("all", "code", "latex", "number", "prose", "smiles", "table")
    ]
    final = {(r["step"], r["domain"]): r["bits_per_byte"] for r in rows(out, "domains")}
    assert {(step, name): bits for step, name, bits in seen} == {k: v for k, v in final.items() if k[0] == 6}
    (events,) = (out / "tensorboard").iterdir()
    for name in ("all", "latex", "smiles"):
        assert f"bits per byte by domain/{name}".encode() in events.read_bytes()
        assert f"perplexity by domain/{name}".encode() in events.read_bytes()
