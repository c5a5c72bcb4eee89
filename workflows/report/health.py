"""How healthy a training was: its spikes, the tensors that stood still, and what all ranks spent their time on.

The what-if of stragglers compares, in each stretch of steps, the busiest rank with the middle one: had no rank been busier
than that, the difference would not have been waited for (after Lin et al. 2025, "Understanding stragglers in large model
training", who replay each operation; this takes the stretches as they were).
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from schemas.health import Heartbeat, SpikeEvent, TensorHealth
from workflows.report.tables import Tables

Rows = list[dict[str, Any]]
Key = tuple[int, str]
WAITING = "exchange"
STILL_FRACTION, MAX_STILL = 0.01, 10


def spikes(tables: Tables) -> dict[Key, Rows]:
    """All spikes for each node and phase, in the order of their steps."""
    if not tables.has(SpikeEvent):
        return {}
    return _grouped(
        tables.rows(
            """
            SELECT node, phase, step, onset, signal, loss, expected_loss, gradient_norm, expected_gradient_norm, cause, evidence,
                action, restart_step, len(suspects) AS num_suspects
            FROM SpikeEvent ORDER BY node, phase, step
            """
        )
    )


def still(tables: Tables) -> dict[Key, Rows]:
    """Tensors of which an update changed less than 1 % of the elements, the stillest first."""
    if not tables.has(TensorHealth):
        return {}
    return _grouped(
        tables.rows(
            """
            SELECT node, phase, tensor, count(*) AS num_looks, max(step) AS step, min(changed_fraction) AS changed_fraction,
                min(ulp_ratio) AS ulp_ratio
            FROM TensorHealth WHERE changed_fraction < ? GROUP BY node, phase, tensor
            ORDER BY node, phase, changed_fraction, tensor LIMIT ?
            """,
            [STILL_FRACTION, MAX_STILL],
        )
    )


def times(tables: Tables) -> dict[Key, dict[str, Any]]:
    """For each node and phase what the time went to, and what stragglers cost."""
    if not tables.has(Heartbeat):
        return {}
    rows = tables.rows(
        "SELECT node, phase, step, rank, work, seconds FROM Heartbeat ORDER BY node, phase, step, rank, work"
    )
    return {key: {"works": works(some), "straggler": straggler(some)} for key, some in _grouped(rows).items()}


def works(rows: Rows) -> Rows:
    """Seconds of each work, of the middle rank and of the busiest, and the share of all time, the most first."""
    spent: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        spent[row["work"]][row["rank"]] += row["seconds"]
    ranks = {row["rank"] for row in rows}
    total = sum(row["seconds"] for row in rows)
    found = []
    for work, seconds in spent.items():
        each = [seconds.get(rank, 0.0) for rank in ranks]
        share = sum(each) / total if total else 0.0
        found.append({"work": work, "middle": statistics.median(each), "most": max(each), "share": share})
    return sorted(found, key=lambda r: -r["share"])


def straggler(rows: Rows) -> dict[str, Any] | None:
    """What if no rank had been busier than the middle one: seconds saved, and who and what was late the most."""
    ranks = sorted({row["rank"] for row in rows})
    if len(ranks) < 2:
        return None
    saved, whole, late = 0.0, 0.0, Counter[int]()
    by_work: dict[tuple[int, str], float] = defaultdict(float)
    for stretch in _stretches(rows):
        busy = {rank: sum(s for (r, w), s in stretch.items() if r == rank and w != WAITING) for rank in ranks}
        worst = max(ranks, key=lambda r: busy[r])
        lost = busy[worst] - statistics.median(busy.values())
        saved, whole = saved + lost, whole + max(sum(s for (r, _), s in stretch.items() if r == rank) for rank in ranks)
        late[worst] += 1
        for work in {w for r, w in stretch if r == worst and w != WAITING}:
            middle = statistics.median(stretch.get((r, work), 0.0) for r in ranks)
            by_work[worst, work] += max(0.0, stretch[worst, work] - middle)
    rank, count = late.most_common(1)[0]
    work = max((w for r, w in by_work if r == rank), key=lambda w: by_work[rank, w])
    share = count / late.total()
    return {"seconds": whole, "saved": saved, "rank": rank, "share": share, "work": work, "num_ranks": len(ranks)}


def _stretches(rows: Rows) -> Iterable[dict[tuple[int, str], float]]:
    """Seconds by rank and work, stretch by stretch."""
    found: dict[int, dict[tuple[int, str], float]] = {}
    for row in rows:
        found.setdefault(row["step"], {})[row["rank"], row["work"]] = row["seconds"]
    return found.values()


def _grouped(rows: Rows) -> dict[Key, Rows]:
    groups: dict[Key, Rows] = {}
    for row in rows:
        groups.setdefault((row["node"], row["phase"]), []).append(row)
    return groups
