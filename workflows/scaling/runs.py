"""What a finished pretraining tells of scaling: its weights, its tokens, its loss on held-out text, its speed, its ranks.

Compute is 6 N D: six operations for each weight and token (Kaplan et al. 2020), all weights counted, embeddings too, and no
attention. The speed is the median of the steps', the ranks are those that the heartbeats name.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from schemas.health import Heartbeat
from schemas.table import ContractError, Row
from schemas.training import DomainLoss, MeasuredDocument, Model, TrainStep, Validation
from stages.base import SettingsError
from stages.tables import Reader

VALIDATION = "validation"


@dataclass(frozen=True)
class Run:
    """A training run. `measured` is a digest of what the loss was measured on; `ranks` is None where it is not known."""

    name: str
    num_parameters: int
    num_tokens: int
    loss: float
    tokens_per_second: float
    ranks: int | None
    measured: str

    @property
    def compute(self) -> float:
        """Operations of the whole training."""
        return 6.0 * self.num_parameters * self.num_tokens


def read_runs(folders: Sequence[Path], loss: str) -> list[Run]:
    """The runs in these output folders, each once, by the loss of that name: `validation`, `all`, or a domain.

    SettingsError names all folders that are no finished run with such a loss, and runs that were not measured alike.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    runs, problems = [], []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            runs.append(_read(folder, name, loss))
        except ContractError as error:
            problems.append(f"{folder}: {'; '.join(error.problems)}")
    if problems:
        cure = "give output folders of pretrain that have a manifest.json"
        raise SettingsError("\n".join([*problems, f"fit-scaling reads finished training runs: {cure}"]))
    if len({r.measured for r in runs}) > 1:
        groups = "; ".join(sorted({f"{r.measured[:8]}: {r.name}" for r in runs}))
        cure = "train them on one corpus, tokenizer and index.seed, with one pretrain.validation_tokens"
        raise SettingsError(
            f"the losses do not compare, for runs were measured on other documents or tokens ({groups}); {cure}"
        )
    return runs


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell the folders apart."""
    names, count = [folder.name for folder in folders], 1
    while len(set(names)) < len(names):
        count += 1
        names = ["/".join(folder.parts[-count:]) for folder in folders]
    return names


def _read(folder: Path, name: str, loss: str) -> Run:
    steps = _table(folder, "steps", TrainStep, ("step", "num_tokens", "tokens_per_second"))
    models = _table(folder, "model", Model, ("num_parameters",))
    for table, words in ((steps, "step"), (models, "model: only an exported run says how many weights it has")):
        if not table.num_rows:
            raise ContractError(str(folder), [f"it has no {words}"])
    ranks = _table(folder, "heartbeats", Heartbeat, ("rank",))
    speeds = steps["tokens_per_second"].combine_chunks()
    return Run(
        name=name,
        num_parameters=models["num_parameters"][0].as_py(),
        num_tokens=pc.max(steps["num_tokens"]).as_py(),
        loss=_loss(folder, loss),
        tokens_per_second=pc.quantile(speeds, 0.5)[0].as_py(),
        ranks=pc.count_distinct(ranks["rank"]).as_py() or None,
        measured=_digest(_table(folder, "measured", MeasuredDocument, ("doc_id", "num_tokens"))),
    )


def _loss(folder: Path, loss: str) -> float:
    """Nats a token at the last measurement."""
    if loss == VALIDATION:
        rows = _table(folder, "validation", Validation, ("name", "step", "value")).to_pylist()
        found = [(r["step"], r["value"]) for r in rows if r["name"] == VALIDATION]
        names: Iterable[str] = {r["name"] for r in rows}
    else:
        rows = _table(folder, "domains", DomainLoss, ("domain", "step", "nats", "num_tokens")).to_pylist()
        found = [(r["step"], r["nats"] / r["num_tokens"]) for r in rows if r["domain"] == loss]
        names = {r["domain"] for r in rows}
    if not found:
        raise ContractError(str(folder), [f"it has no loss {loss!r}, only {', '.join(sorted(names)) or 'none'}"])
    return float(max(found)[1])


def _table(folder: Path, name: str, row: type[Row], columns: Sequence[str]) -> pa.Table:
    return Reader(folder / name, row).table(columns)


def _digest(documents: pa.Table) -> str:
    rows = sorted((r["doc_id"], r["num_tokens"]) for r in documents.to_pylist())
    return hashlib.sha256(repr(rows).encode()).hexdigest()
