"""How training went: steps thinned to what a chart can show, held-out measurements, checkpoints, models."""

import math
from collections.abc import Iterable
from typing import Any

from schemas.training import Checkpoint, DomainLoss, Model, TrainStep, Validation
from workflows.report.tables import Tables

MAX_POINTS = 400  # a chart is about 500 pixels wide
LAST_STEPS = 10
ALL_TEXT = "all"  # what `DomainLoss.domain` says of all domains together
BASELINE = "unigram"  # what `Validation.name` says of a model that only knows how often each token occurs

Rows = list[dict[str, Any]]
Key = tuple[int, str]


def steps(tables: Tables) -> dict[Key, Rows]:
    """For each node and phase at most 400 points: the mean over neighbouring steps."""
    if not tables.has(TrainStep):
        return {}
    rows = tables.rows(
        """
        WITH binned AS (
            SELECT *, ntile(?) OVER (PARTITION BY node, phase ORDER BY step) AS bin FROM TrainStep
        )
        SELECT node, phase, max(step) AS step, max(num_tokens) AS num_tokens, avg(loss) AS loss,
            avg(gradient_norm) AS gradient_norm, avg(learning_rate) AS learning_rate,
            avg(tokens_per_second) AS tokens_per_second
        FROM binned GROUP BY node, phase, bin ORDER BY node, phase, bin
        """,
        [MAX_POINTS],
    )
    return _grouped(rows)


def phases(tables: Tables) -> Rows:
    """One row for each node and phase: steps, tokens, first and last loss, middle speed; phases in time order."""
    if not tables.has(TrainStep):
        return []
    return tables.rows(
        """
        SELECT node, phase, max(step) AS num_steps, max(num_tokens) AS num_tokens,
            avg(loss) FILTER (place <= $last) AS first_loss, avg(loss) FILTER (place > num_rows - $last) AS last_loss,
            quantile_cont(tokens_per_second, 0.5) AS tokens_per_second
        FROM (
            SELECT *, row_number() OVER w AS place, count(*) OVER (PARTITION BY node, phase) AS num_rows
            FROM TrainStep WINDOW w AS (PARTITION BY node, phase ORDER BY step)
        )
        GROUP BY node, phase ORDER BY node, list_position(['pretrain', 'sft', 'dpo'], phase)
        """.replace("$last", str(LAST_STEPS))
    )


def validation(tables: Tables) -> dict[Key, Rows]:
    """All held-out measurements for each node and phase, in step order."""
    if not tables.has(Validation):
        return {}
    return _grouped(
        tables.rows(
            """
            SELECT node, phase, name, step, value, bits_per_byte FROM Validation
            ORDER BY node, list_position(['pretrain', 'sft', 'dpo'], phase), name, step
            """
        )
    )


def before_after(rows: Rows) -> Rows:
    """For each name the first and the last measurement, and how much it moved."""
    result = []
    for name in dict.fromkeys(r["name"] for r in rows):
        mine = [r for r in rows if r["name"] == name]
        first, last = mine[0], mine[-1]
        result.append({"name": name, "first": first, "last": last, "num_measured": len(mine)})
    return result


def against_baseline(rows: Rows) -> dict[str, float] | None:
    """Bits per byte of the model at its last step beside the unigram baseline's, where both were measured."""
    known = [r for r in rows if r["bits_per_byte"] is not None and math.isfinite(r["bits_per_byte"])]
    baseline = [r["bits_per_byte"] for r in known if r["name"] == BASELINE]
    model = [r["bits_per_byte"] for r in known if r["name"] != BASELINE]
    return {"model": model[-1], "baseline": baseline[-1]} if baseline and model else None


def domains(tables: Tables) -> dict[Key, dict[str, Rows]]:
    """For each node and phase the measurements of each domain in step order: all text first, then the largest domain."""
    if not tables.has(DomainLoss):
        return {}
    rows = tables.rows(
        """
        SELECT node, phase, domain, step, num_tokens, num_bytes, perplexity, bits_per_byte FROM DomainLoss
        ORDER BY node, phase, domain != ?, num_bytes DESC, domain, step
        """,
        [ALL_TEXT],
    )
    return {key: _by_domain(mine) for key, mine in _grouped(rows).items()}


def checkpoints(tables: Tables) -> Rows:
    """States that training can resume from."""
    if not tables.has(Checkpoint):
        return []
    return tables.rows(
        "SELECT node, phase, step, num_tokens, folder, size_bytes FROM Checkpoint ORDER BY node, phase, step"
    )


def models(tables: Tables) -> Rows:
    """Models that were made, with the bytes of their files."""
    if not tables.has(Model):
        return []
    return tables.rows(
        """
        SELECT node, name, phase, architecture, num_parameters, context_tokens, len(files) AS num_files,
            list_sum(list_transform(files, lambda f: f.size_bytes))::BIGINT AS size_bytes
        FROM Model ORDER BY node, name
        """
    )


def _by_domain(rows: Rows) -> dict[str, Rows]:
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row["domain"], []).append(row)
    return groups


def _grouped(rows: Iterable[dict[str, Any]]) -> dict[Key, Rows]:
    groups: dict[Key, Rows] = {}
    for row in rows:
        groups.setdefault((row["node"], row["phase"]), []).append(row)
    return groups
