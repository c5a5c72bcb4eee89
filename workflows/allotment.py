"""The parts of parse's budget in a graph: found before parse where it has several shards, and shown once they are."""

from schemas.corpus import Allotment
from stages.allot import Allot
from stages.parse import Parse
from stages.tables import Reader
from workflows.base import Node, Port, Run


def parsed(run: Run, sources: Port, stage: Parse | None = None, shards: int = 1) -> Node:
    """Add parse to a graph, and before it the division of its budget where several shards have one."""
    stage = stage or Parse()
    settled, count = run.settled(stage), run.num_shards(stage, shards=shards)
    if settled.budget is None or count == 1:
        return run(stage, sources=sources, shards=shards)
    divided = run(Allot(parsing=settled, num_shards=count), sources=sources)
    return run(stage, sources=sources, allotment=divided["allotment"], shards=shards)


def words(node: Node) -> str:
    """What each shard of a finished division of this node's budget has; nothing where there is none."""
    port = node.inputs.get("allotment")
    if port is None or not port.node.done or port.node.manifest().stub:
        return ""
    rows: list[Allotment] = list(Reader(port.path, port.row).rows())
    unit = "pages" if rows[0].budget.endswith("%") else "s"
    return f"{sum(r.part for r in rows):.1f} {unit}, by shard {', '.join(f'{r.part:.1f}' for r in rows)}"
