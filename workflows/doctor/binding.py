"""Which logical processors each worker or rank of a node is bound to."""

from collections.abc import Sequence

from workflows.facility import NodeShape, processors


def entries(text: str) -> list[set[int]]:
    """The processors of each entry of `list:1-8,105-112:9-16,113-120`; none for any other word."""
    if not text.startswith("list:"):
        return []
    return [processors(share) for share in text.removeprefix("list:").split(":")]


def by_depth(node: NodeShape, ranks: int, depth: int) -> list[set[int]]:
    """What `--cpu-bind depth` gives: rank r the r-th run of `depth` cores, in order, those of the system left out."""
    free = sorted(set(range(node.cores)) - processors(node.reserved))
    return [set(free[r * depth : (r + 1) * depth]) for r in range(ranks)]


def outside(shares: Sequence[set[int]], domains: Sequence[set[int]]) -> list[int]:
    """Indices of the shares that no single domain holds; none where no domains are known."""
    return [i for i, share in enumerate(shares) if domains and not any(share <= d for d in domains)]
