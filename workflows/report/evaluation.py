"""What the models know: scores beside each other, and the answers that the scores were computed from.

A *contestant* is a model as one node evaluated it: two nodes may evaluate models of the same name.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.evaluation import Sample, Score
from schemas.serving import Endpoint
from workflows.report.tables import Tables
from workflows.report.training import BASELINE

ANSWERS_TASK = "answers"  # samples of this task are free-form: `choices[0]` is what the model wrote
MAX_ITEMS = 4  # of each kind: right, wrong
MAX_ANSWERS = 6
MAX_CHARS = 1200
CHANCE = "chance"  # the metric that says what guessing scores
INTERVAL_95 = 1.96  # standard errors on either side, normal approximation

Rows = list[dict[str, Any]]
Contestant = tuple[int, str]


def contestants(tables: Tables, names: Sequence[str]) -> dict[Contestant, str]:
    """Every (node, model) with scores or samples, in recipe order, and what to call it."""
    found: set[Contestant] = set()
    for row in (Score, Sample):
        if tables.has(row):
            found |= {(r["node"], r["model"]) for r in tables.rows(f"SELECT DISTINCT node, model FROM {row.__name__}")}  # noqa: S608 - a class's name
    models = [model for _, model in found]
    return {c: c[1] if models.count(c[1]) == 1 else f"{c[1]} ({names[c[0]]})" for c in sorted(found)}


def scores(tables: Tables) -> Rows:
    """One row for each task and metric: values by contestant, how many samples, and what knowing nothing scores."""
    if not tables.has(Score):
        return []
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for r in tables.rows("SELECT * FROM Score ORDER BY task, metric, node, model"):
        fields = {k: r[k] for k in ("task", "metric", "num_samples", "higher_is_better")}
        row = rows.setdefault((r["task"], r["metric"]), {**fields, "values": {}})
        row["values"][r["node"], r["model"]] = (r["value"], r["standard_error"])
    guesses = _chance(tables)
    baselines = {key: name for key in rows if (name := _baseline_of(key, rows))}
    shown = [{**row, "baseline": None} for key, row in rows.items() if key not in baselines.values()]
    for row in shown:
        name = baselines.get((row["task"], row["metric"]))
        if name:
            value, _ = next(iter(rows[name]["values"].values()))
            row["baseline"] = (name[1].split("_")[0], value)
        elif is_accuracy(row["metric"]) and row["task"] in guesses:
            row["baseline"] = (CHANCE, guesses[row["task"]])
    return shown


def is_accuracy(metric: str) -> bool:
    """Whether a metric is a fraction of right answers: `acc`, `acc_norm`."""
    return metric.split("_", maxsplit=1)[0] == "acc"


def _baseline_of(key: tuple[str, str], rows: Mapping[tuple[str, str], Any]) -> tuple[str, str] | None:
    """The row that says what chance, or a unigram model, scores on the same task and metric."""
    task, metric = key
    name = (task, CHANCE if is_accuracy(metric) else f"{BASELINE}_{metric}")
    return name if name in rows else None


def _chance(tables: Tables) -> dict[str, float]:
    """Guessing among a question's choices is right once in so many; the mean over the task's questions."""
    if not tables.has(Sample):
        return {}
    rows = tables.rows(
        "SELECT task, avg(1.0 / len(choices)) AS chance FROM Sample WHERE len(choices) >= 2 AND len(responses) >= 2 "
        "GROUP BY task ORDER BY task"
    )
    return {r["task"]: r["chance"] for r in rows}


def best(row: Mapping[str, Any]) -> Contestant | None:
    """The contestant ahead of all others by more than 1.96 standard errors of the difference, if there is one.

    The errors are taken as independent; over the same questions they are not, which makes this the careful side.
    """
    values = row["values"]
    if len(values) < 2 or any(error is None for _, error in values.values()):
        return None
    sign = 1 if row["higher_is_better"] else -1
    first, *others = sorted(values, key=lambda c: sign * values[c][0], reverse=True)
    (value, error), rest = values[first], [values[c] for c in others]
    ahead = all(sign * (value - v) > INTERVAL_95 * math.hypot(error, e) for v, e in rest)
    return first if ahead else None


def items(tables: Tables, who: Sequence[Contestant]) -> dict[str, Rows]:
    """Some multiple-choice questions that the last contestant got right, and some that it got wrong."""
    if not tables.has(Sample) or not who:
        return {}
    rows = tables.rows(
        """
        WITH answered AS (
            SELECT *, list_position(responses, list_max(responses)) - 1 AS chosen,
                CASE WHEN json_valid(metrics) THEN TRY_CAST(json_extract_string(metrics, '$.acc') AS DOUBLE) END AS acc
            FROM Sample WHERE len(choices) >= 2 AND len(responses) = len(choices)
        ), picked AS (
            SELECT task, sample_id, acc > 0.5 AS is_right,
                row_number() OVER (PARTITION BY acc > 0.5 ORDER BY sample_id, task) AS place
            FROM answered WHERE node = ? AND model = ? AND acc IS NOT NULL
        )
        SELECT a.node, a.model, a.task, a.sample_id, left(a.prompt, ?) AS prompt, a.target, a.choices, a.chosen,
            a.acc > 0.5 AS hit, p.is_right
        FROM answered a JOIN picked p USING (task, sample_id) WHERE p.place <= ?
        ORDER BY p.is_right DESC, p.place, a.node, a.model
        """,
        [*who[-1], MAX_CHARS, MAX_ITEMS],
    )
    return {kind: _questions([r for r in rows if r["is_right"] is good]) for kind, good in KINDS.items()}


KINDS = {"right": True, "wrong": False}


def _questions(rows: Rows) -> Rows:
    """Join what all contestants answered to a question."""
    questions: dict[tuple[str, int], dict[str, Any]] = {}
    for r in rows:
        fields = {"task": r["task"], "prompt": r["prompt"], "choices": r["choices"], "answers": {}}
        question = questions.setdefault((r["task"], r["sample_id"]), {**fields, "truth": _truth(r)})
        question["answers"][r["node"], r["model"]] = (r["chosen"], bool(r["hit"]))
    return list(questions.values())


def _truth(row: Mapping[str, Any]) -> int | None:
    """The index of the true choice: `target` is its text or its index; a right answer settles which."""
    if row["hit"]:
        return int(row["chosen"])
    if row["target"] in row["choices"]:
        return int(row["choices"].index(row["target"]))
    index = row["target"].strip()
    return int(index) if index.isdecimal() and int(index) < len(row["choices"]) else None


def answers(tables: Tables) -> Rows:
    """Free-form answers: prompt, reference, and what each contestant wrote."""
    if not tables.has(Sample):
        return []
    rows = tables.rows(
        """
        SELECT node, model, sample_id, left(prompt, $2) AS prompt, left(target, $2) AS target,
            left(coalesce(choices[1], ''), $2) AS answer
        FROM Sample WHERE task = $1
        QUALIFY dense_rank() OVER (ORDER BY sample_id) <= $3
        ORDER BY sample_id, node, model
        """,
        [ANSWERS_TASK, MAX_CHARS, MAX_ANSWERS],
    )
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for r in rows:
        key = (r["sample_id"], r["prompt"])
        answer = found.setdefault(key, {"prompt": r["prompt"], "target": r["target"], "answers": {}})
        answer["answers"][r["node"], r["model"]] = r["answer"]
    return list(found.values())


def endpoints(tables: Tables) -> Rows:
    """Servers that answered when they were started."""
    if not tables.has(Endpoint):
        return []
    return tables.rows(
        "SELECT node, url, model, host, left(prompt, $1) AS prompt, left(answer, $1) AS answer FROM Endpoint "
        "ORDER BY node, url",
        [MAX_CHARS],
    )
