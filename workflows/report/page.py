"""The page: what the template is given, section by section. A section without rows is left out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from workflows.report import NodeLike, charts, corpus, evaluation, formats, health, stream, training
from workflows.report.graph import BOX_HEIGHT, BOX_WIDTH, draw
from workflows.report.summary import Summary, summarize, totals
from workflows.report.tables import Tables

Context = dict[str, Any]
FILTERS = (
    formats.number, formats.compact, formats.size, formats.duration, formats.moment, formats.share, formats.plus_minus,
    formats.shorten, formats.curl_line, formats.as_json, formats.signed,
)  # fmt: skip
PHASES = {"pretrain": "Pretraining", "sft": "Supervised fine-tuning", "dpo": "Preference tuning (DPO)"}
SMALL = {
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm, before clipping",
    "tokens_per_second": "tokens a second",
}


def render(nodes: Sequence[NodeLike], title: str) -> str:
    """The whole page as HTML."""
    summaries = summarize(nodes)
    tables = Tables(summaries)
    try:
        context = {
            "title": title,
            "summaries": summaries,
            "names": [s.name for s in summaries],
            "totals": totals(summaries),
            "graph": _graph(summaries),
            "box": (BOX_WIDTH, BOX_HEIGHT),
            "failures": any(s.failures for s in summaries),
            "drops": _drops(tables, summaries),
            "corpus": _corpus(tables),
            "stream": _stream(tables, summaries),
            "training": _training(tables),
            "evaluation": _evaluation(tables, summaries),
            "endpoints": evaluation.endpoints(tables),
            "phases": PHASES,
            "problems": tables.problems,
        }
    finally:
        tables.close()
    context["figures"] = _figures(context)
    return _environment().get_template("report.html.j2").render(context)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workflows.report", "."),
        autoescape=True,  # paths, texts and answers come from outside
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in FILTERS}
    return environment


def _graph(summaries: Sequence[Summary]) -> Context:
    """The drawing, with the tables that pass along each edge."""
    index = {s.name: s.index for s in summaries}
    edges: dict[tuple[int, int], list[str]] = {}
    for s in summaries:
        for port in s.node.inputs.values():
            edges.setdefault((index[port.node.name], s.index), []).append(port.output)
    labels = {edge: ", ".join(dict.fromkeys(outputs)) for edge, outputs in edges.items()}
    return {"drawing": draw(len(summaries), labels)}


def _drops(tables: Tables, summaries: Sequence[Summary]) -> list[Context]:
    """Reasons of every node that dropped rows: counts from the manifest, examples from its table."""
    examples: dict[tuple[int, str], list[Context]] = {}
    for row in corpus.drop_examples(tables):
        examples.setdefault((row["node"], row["reason"]), []).append(row)
    result = []
    for s in (s for s in summaries if s.manifest and s.manifest.dropped):
        counts = sorted(s.manifest.dropped.items(), key=lambda item: (-item[1], item[0])) if s.manifest else []
        reasons = [{"reason": r, "count": n, "examples": examples.get((s.index, r), [])} for r, n in counts]
        result.append({"summary": s, "reasons": reasons, "most": counts[0][1]})
    return result


def _corpus(tables: Tables) -> Context | None:
    """Files, documents, pages, duplicates, what means the same, and tokens."""
    tokens = corpus.tokens(tables)
    rows = {
        "found": corpus.found(tables),
        "allotment": corpus.allotment(tables),
        "documents": corpus.documents(tables),
        "pages": corpus.pages(tables),
        "duplicates": corpus.duplicates(tables),
        "alike": corpus.alike(tables),
    }
    if tokens is None and not any(rows.values()):
        return None
    chart = charts.histogram("lengths", "Documents by length in tokens", tokens["histogram"]) if tokens else None
    return {**rows, "tokens": tokens, "chart": chart}


def _stream(tables: Tables, summaries: Sequence[Summary]) -> Context | None:
    """Mixture, ledger, tokens by licence that training saw, fertility."""
    fertility = stream.fertility(tables)
    rows = {
        "orders": stream.orders(tables),
        "mixture": stream.mixture(tables, summaries),
        "ledgers": stream.ledgers(tables),
        "seen": stream.seen(tables, summaries),
    }
    if fertility is None and not any(rows.values()):
        return None
    chart = None
    if fertility:
        kinds = [r for r in fertility["rows"] if r["source"] is None]
        chart = charts.fertility("fertility", "tokens a byte", kinds, fertility["tokenizers"])
    return {**rows, "fertility": fertility, "chart": chart}


def _training(tables: Tables) -> Context | None:
    """Each node's phases with their charts, held-out measurements, checkpoints and models."""
    steps, held_out = training.steps(tables), training.validation(tables)
    models, checkpoints = training.models(tables), training.checkpoints(tables)
    known = {(p["node"], p["phase"]): p for p in training.phases(tables)}
    keys = [*known, *(k for k in held_out if k not in known)]
    if not (keys or models or checkpoints):
        return None
    spikes, still, times = health.spikes(tables), health.still(tables), health.times(tables)
    domains = training.domains(tables)
    parts = []
    for key in keys:
        saved = [c["step"] for c in checkpoints if (c["node"], c["phase"]) == key]
        marks = charts.Marks([(s["step"], s["cause"]) for s in spikes.get(key, [])], saved)
        part = _phase(key, (steps.get(key, []), held_out.get(key, [])), known.get(key), marks)
        if told := domains.get(key):
            part["charts"].append(charts.by_domain(f"{key[1]}-{key[0]}-domains", told))
        parts.append(
            {
                **part,
                "spikes": spikes.get(key, []),
                "still": still.get(key, []),
                "times": times.get(key),
                "domains": [
                    {"domain": name, "first": rows[0], "last": rows[-1]} for name, rows in (told or {}).items()
                ],
            }
        )
    return {"phases": parts, "models": models, "checkpoints": checkpoints}


def _phase(
    key: tuple[int, str], rows: tuple[list[Context], list[Context]], summary: Context | None, marks: charts.Marks
) -> Context:
    (node, phase), (steps, held_out) = key, rows
    name = f"{phase}-{node}"
    baseline = training.against_baseline(held_out)
    images: list[Markup | None] = []
    if steps:
        title = "loss (nats a token)" if phase != "dpo" else "loss"
        images.append(charts.loss(f"{name}-loss", title, steps, _losses(held_out), marks))
    if baseline:
        model = [r for r in held_out if r["name"] != training.BASELINE and r["bits_per_byte"] is not None]
        images.append(charts.bits_per_byte(f"{name}-bits", model, baseline["baseline"]))
    small = [charts.small(f"{name}-{c}", title, steps, c) for c, title in SMALL.items()] if steps else []
    return {
        "node": node,
        "phase": phase,
        "summary": summary,
        "measured": training.before_after(held_out),
        "in_bytes": any(r["bits_per_byte"] is not None for r in held_out),
        "baseline": baseline,
        "charts": [i for i in images if i],
        "small": [i for i in small if i],
    }


def _losses(held_out: Iterable[Context]) -> dict[str, list[Context]]:
    """Held-out measurements that share the axis of the training loss."""
    groups: dict[str, list[Context]] = {}
    for row in held_out:
        if "loss" in row["name"] or row["name"] == "validation":
            label = row["name"] if row["name"].startswith("held") else f"held out: {row['name']}"
            groups.setdefault(label, []).append(row)
    return groups


def _evaluation(tables: Tables, summaries: Sequence[Summary]) -> Context | None:
    """Scores side by side, a chart a metric, questions answered rightly and wrongly, free answers."""
    who = evaluation.contestants(tables, [s.name for s in summaries])
    rows = evaluation.scores(tables)
    items, answers = evaluation.items(tables, list(who)), evaluation.answers(tables)
    if not (rows or answers or any(items.values())):
        return None
    images = [
        charts.scores(f"scores-{i}", title, together, who) for i, (title, together) in enumerate(_axes(rows).items())
    ]
    shown = [{**r, "best": evaluation.best(r)} for r in rows]
    return {"contestants": who, "scores": shown, "charts": images, "items": items, "answers": answers}


def _axes(rows: Iterable[Context]) -> dict[str, list[Context]]:
    """Scores that share an axis: all accuracies, else those of one metric."""
    groups: dict[str, list[Context]] = {}
    for row in rows:
        accuracy = evaluation.is_accuracy(row["metric"])
        label = f"{row['task']} {row['metric']}" if accuracy else row["task"]
        groups.setdefault("accuracy" if accuracy else row["metric"], []).append({**row, "label": label})
    return groups


def _figures(context: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The few numbers at the top: value, what it is, and what to compare it with."""
    return [figure for make in (_corpus_figures, _model_figures, _score_figures) for figure in make(context)]


def _corpus_figures(context: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    tokens = context["corpus"]["tokens"] if context["corpus"] else None
    if not tokens:
        return []
    found = sum(r["num_files"] for r in context["corpus"]["found"])
    from_files = f"from {formats.number(found)} files" if found else ""
    licences = len(tokens["licences"])
    return [
        (formats.compact(tokens["num_documents"]), "documents", from_files),
        (formats.compact(tokens["num_tokens"]), "tokens", f"under {licences} licence{'s' if licences > 1 else ''}"),
    ]


def _model_figures(context: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    phases = context["training"]["phases"] if context["training"] else []
    return [
        (f"{p['baseline']['model']:.3f}", "bits a byte, held out", f"unigram: {p['baseline']['baseline']:.3f}")
        for p in phases
        if p["baseline"]
    ][:1]


def _score_figures(context: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    found = context["evaluation"]
    row = next((r for r in found["scores"] if r["baseline"] and r["metric"] == "acc"), None) if found else None
    if not row:
        return []
    last = list(found["contestants"])[-1]
    if last not in row["values"]:
        return []
    value, _ = row["values"][last]
    return [
        (formats.share(value, 1.0), f"of {row['task']} right", f"by chance: {formats.share(row['baseline'][1], 1.0)}")
    ]
