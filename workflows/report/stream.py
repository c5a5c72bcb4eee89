"""The token stream: what the mixture takes of each source, how text is told in tokens, what the ledger recorded."""

from collections.abc import Sequence
from typing import Any

from schemas.table import ContractError
from schemas.tokens import Fertility, MixtureShare, TokenOrder
from schemas.training import BatchLedger
from stages.base import SettingsError
from workflows.report.summary import Summary
from workflows.report.tables import Tables
from workflows.trace.answers import licences
from workflows.trace.exposure import ledger_digest
from workflows.trace.training import Training

MAX_EPOCHS = (
    4.0  # where the index does not say: going through a source more often gains little (Muennighoff et al. 2023)
)
MAX_SAMPLES = 2_000_000  # of a run whose licences are counted here, in seconds; `parsl trace --licence` counts any
ALONE = 2  # rows of a kind that has one source: the sum over sources, and the same again
KINDS = ("prose", "latex", "code", "smiles", "table", "number")

Rows = list[dict[str, Any]]


def mixture(tables: Tables, summaries: Sequence[Summary]) -> Rows:
    """What each source gives in each phase; `repeated` where the run goes through it more often than the index allows."""
    if not tables.has(MixtureShare):
        return []
    rows = tables.rows(
        """
        SELECT *, num_taken / sum(num_taken) OVER (PARTITION BY node, phase) AS taken_fraction
        FROM MixtureShare ORDER BY node, phase, num_taken DESC, source
        """
    )
    limits = {s.index: float(s.settings.get("max_epochs", MAX_EPOCHS)) for s in summaries}
    return [{**r, "limit": limits[r["node"]], "repeated": r["epochs"] > limits[r["node"]]} for r in rows]


def orders(tables: Tables) -> Rows:
    """How each index orders and packs its samples."""
    if not tables.has(TokenOrder):
        return []
    return tables.rows("SELECT * EXCLUDE (tokens_sha256) FROM TokenOrder ORDER BY node")


def ledgers(tables: Tables) -> Rows:
    """Steps, samples and a digest of every ledger: two of one digest saw the same samples in the same order."""
    if not tables.has(BatchLedger):
        return []
    rows = tables.rows(
        """
        SELECT node, phase, count(*) AS num_steps, min(step) AS first_step, max(step) AS last_step,
            sum(num_samples)::BIGINT AS num_samples, string_agg(samples_sha, '' ORDER BY step) AS digests
        FROM BatchLedger GROUP BY node, phase ORDER BY node, phase
        """
    )
    return [{**r, "digest": ledger_digest(r.pop("digests"))} for r in rows]


def seen(tables: Tables, summaries: Sequence[Summary]) -> Rows:
    """For each run with a ledger, the tokens that it saw by licence, exactly; `shares` is missing where it is large."""
    found = []
    for row in ledgers(tables):
        summary = summaries[row["node"]]
        try:
            counted = licences(Training.open(summary.node.path)) if row["num_samples"] <= MAX_SAMPLES else {}
        except (ContractError, SettingsError, OSError) as error:
            tables.problems.append(f"{summary.name}, tokens by licence: {' '.join(str(error).split())}")
            continue
        found.append({"node": row["node"], **counted, "licences": _by_licence(counted)})
    return found


def _by_licence(counted: dict[str, Any]) -> Rows:
    sums: dict[str, dict[str, Any]] = {}
    for share in counted.get("shares", []):
        one = sums.setdefault(share["licence"], {"licence": share["licence"], "num_tokens": 0, "num_documents": 0})
        one["num_tokens"] += share["num_tokens"]
        one["num_documents"] += share["num_documents"]
    return sorted(sums.values(), key=lambda r: (-r["num_tokens"], r["licence"]))


def fertility(tables: Tables) -> dict[str, Any] | None:
    """Tokens a byte by kind of text and source, a value a tokenizer; kinds over all sources first."""
    if not tables.has(Fertility):
        return None
    rows = tables.rows(
        """
        SELECT tokenizer, kind, source, sum(num_bytes)::BIGINT AS num_bytes, sum(num_tokens)::BIGINT AS num_tokens
        FROM Fertility GROUP BY GROUPING SETS ((tokenizer, kind), (tokenizer, kind, source))
        HAVING sum(num_bytes) > 0 ORDER BY source NULLS FIRST, tokenizer
        """
    )
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for r in rows:
        key = (r["kind"], r["source"])
        one = found.setdefault(key, {"kind": r["kind"], "source": r["source"], "num_bytes": 0, "values": {}})
        one["num_bytes"] = max(one["num_bytes"], r["num_bytes"])
        one["values"][r["tokenizer"]] = r["num_tokens"] / r["num_bytes"]
    if not found:
        return None
    kept = [r for r in found.values() if r["source"] is None or sum(k == r["kind"] for k, _ in found) > ALONE]
    ordered = sorted(kept, key=lambda r: (KINDS.index(r["kind"]), r["source"] is not None, -r["num_bytes"]))
    return {"tokenizers": sorted({r["tokenizer"] for r in rows}), "rows": ordered}
