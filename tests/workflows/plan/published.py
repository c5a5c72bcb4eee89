"""Training runs that others published, row by row: model, layout, and tokens a second and device, or that memory ran out.

`published.csv` has what the tables say, and `kernels`, `state`, `logit_bytes`, `split_logits` what their software is known to do.

| source | where | rows |
|---|---|---|
| llm-foundry | mosaicml/llm-foundry 8c8dd48, scripts/train/benchmarking/README.md, bf16 tables | 209 |
| Aleph Alpha | Hagemann et al. 2023, arXiv 2311.05610; their repository's data/ at e13c2cb, FlashAttention 2 rows | 587, 339 out of memory |
| torchtitan A100 2024-05 | pytorch/torchtitan 0413364, docs/performance.md, and its first version for what ran out of memory | 10, 2 out of memory |
| torchtitan H100 2024-12, 2025-06 | pytorch/torchtitan b5bcd76, benchmarks/, bf16 rows with FSDP and tensor parallelism | 6 |
| Korthikanti 2022 | arXiv 2205.05198, table 5 | 8 |
| ezpz ... | saforem2/torchtitan, torchtitan/experiments/ezpz/docs/scaling/agpt-{2b,20b,80b}.md and docs/production/scaling-performance.md | 57, 2 out of memory |

Inferred, not in the tables: networks of 200 GB/s a node (A100, Max 1550) and 400 (H100); bf16 states in what Argonne ran before its
change of 2026-04-30; sequences of 8,192 in the 2B table of Sunspot, whose header says 4,096 and whose utilization says 8,192;
Aleph Alpha's logits whole on every rank, because every micro-batch of 32,768 tokens ran out of memory in any layout.
"""

import csv
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workflows.plan import speed
from workflows.plan.layout import Layout, Run
from workflows.plan.machine import ACCELERATORS, Machine
from workflows.plan.shape import PRESETS, Shape

FILE = Path(__file__).with_suffix(".csv")
MACHINES = {  # device: our name of it, GB/s of a node's network
    "A100 40GB": ("a100-40", 200.0),
    "A100 80GB": ("a100-80", 200.0),
    "H100 80GB": ("h100", 400.0),
    "H100 96GB": ("h100-96", 400.0),
    "Max 1550 tile": ("max1550", 200.0),
}


def mpt(num_layers: int, width: int, num_heads: int) -> Shape:
    """MosaicML's models: two matrices a feed-forward, tied embeddings."""
    return Shape(num_layers, width, num_heads, num_heads, 4 * width, 50_368, tied=True, gated=False)


def gpt(num_layers: int, width: int, num_heads: int) -> Shape:
    """Megatron's models: as GPT-3."""
    return Shape(num_layers, width, num_heads, num_heads, 4 * width, 51_200, tied=True, gated=False)


SHAPES = {
    "mpt-125m": mpt(12, 768, 12),
    "mpt-350m": mpt(24, 1024, 16),
    "mpt-760m": mpt(24, 1536, 12),
    "mpt-1b": mpt(24, 2048, 16),
    "mpt-3b": mpt(32, 2560, 20),
    "mpt-7b": mpt(32, 4096, 32),
    "mpt-13b": mpt(40, 5120, 40),
    "mpt-30b": mpt(48, 7168, 56),
    "mpt-70b": mpt(80, 8192, 64),
    "llama-13b": Shape(40, 5120, 40, 40, 13824, 128_000),  # with Aleph Alpha's vocabulary
    "llama-30b": Shape(60, 6656, 52, 52, 17920, 128_000),
    "llama-65b": Shape(80, 8192, 64, 64, 22016, 128_000),
    "llama2-13b": Shape(40, 5120, 40, 40, 13824, 32_000),
    "llama2-70b": Shape(80, 8192, 64, 8, 28672, 32_000),
    "llama3-8b": PRESETS["llama3-8b"],
    "llama3-70b": PRESETS["llama3-70b"],
    "agpt-2b": PRESETS["auroragpt-2b"],
    "agpt-20b": PRESETS["auroragpt-20b"],
    "agpt-80b": PRESETS["auroragpt-80b"],
    "agpt-80b-wide": Shape(48, 10752, 84, 12, 39936, 256_128),
    "agpt-80b-deep": Shape(96, 7680, 60, 12, 28672, 256_128),
    "gpt-22b": gpt(48, 6144, 64),
    "gpt-175b": gpt(96, 12288, 96),
    "gpt-530b": gpt(105, 20480, 128),
    "gpt-1t": gpt(128, 25600, 160),
}


@dataclass(frozen=True)
class Published:
    """One row. Tokens a second and GiB are of one device, None where they are not published."""

    source: str
    device: str
    run: Run
    layout: Layout
    machine: Machine
    tokens_per_second: float | None
    memory_gib: float | None
    ran: bool

    @property
    def seconds(self) -> float:
        """Of a step."""
        assert self.tokens_per_second
        return self.run.batch_sequences * self.run.sequence_tokens / (self.tokens_per_second * self.layout.devices)


def published() -> list[Published]:
    """All rows."""
    with FILE.open(newline="") as lines:
        return [_row(fields) for fields in csv.DictReader(lines)]


def _row(fields: dict[str, str]) -> Published:
    number = {k: int(v) for k, v in fields.items() if v.isdigit()}
    name, network = MACHINES[fields["device"]]
    nodes = max(1, number["devices"] // number["per_node"])
    layout = Layout(
        data=number["devices"] // (number["tensor"] * number["pipeline"] * number["context"]),
        recompute=fields["recompute"],  # type: ignore[arg-type]
        split_sequence=bool(number["split_sequence"]),
        **{key: number[key] for key in ("tensor", "pipeline", "context", "zero", "micro_batch")},
    )
    run = Run(
        SHAPES[fields["model"]],
        number["sequence_tokens"],
        number["batch_sequences"],
        state=fields["state"],  # type: ignore[arg-type]
        kernels=fields["kernels"],  # type: ignore[arg-type]
        logit_bytes=number["logit_bytes"],
        split_logits=bool(number["split_logits"]),
    )
    return Published(
        source=fields["source"],
        device=fields["device"].split()[0],
        run=run,
        layout=layout,
        machine=Machine(ACCELERATORS[name], number["per_node"], nodes, network),
        tokens_per_second=float(fields["tokens_per_second"] or 0) or None,
        memory_gib=float(fields["memory_gib"] or 0) or None,
        ran=fields["outcome"] == "ran",
    )


@cache
def implied_efficiency(row: Published) -> float:
    """The efficiency of matrix products at which the prediction is what was published: bisection, 1% to 300%."""
    low, high = 0.01, 3.0
    for _ in range(20):
        middle = (low * high) ** 0.5
        slow = speed.predict(row.run, row.layout, row.machine, middle).seconds > row.seconds
        low, high = (middle, high) if slow else (low, middle)
    return low


def fit(rows: Sequence[Published]) -> dict[str, float]:
    """A device's efficiency: the median over its sources of their medians."""
    implied: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        implied[row.device][row.source].append(implied_efficiency(row))
    return {device: statistics.median(map(statistics.median, each.values())) for device, each in implied.items()}


def errors(rows: Sequence[Published], efficiency: Mapping[str, float]) -> list[float]:
    """Predicted over published tokens a second, less one."""
    found = []
    for row in rows:
        step = speed.predict(row.run, row.layout, row.machine, efficiency[row.device])
        found.append(row.seconds / step.seconds - 1)
    return found


def left_out(rows: Sequence[Published]) -> dict[str, list[float]]:
    """The errors of every source, predicted with the efficiencies that the other sources give."""
    sources = list(dict.fromkeys(row.source for row in rows))
    split = {s: ([r for r in rows if r.source != s], [r for r in rows if r.source == s]) for s in sources}
    return {source: errors(mine, fit(others)) for source, (others, mine) in split.items()}
