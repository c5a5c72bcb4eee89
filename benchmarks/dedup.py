"""Deduplication, ours and each peer in turn on the same corpus; results are compared before times.

    python -m benchmarks.dedup [--only PART] [--quick] [--data LABELLED.jsonl.gz]

Parts: `near` (the near-duplicate pass, one core).

datasketch's LSHBloom needs a compiled filter, and datatrove 0.10 and spaCy do not go with this project's pins; make an
environment that sees this one and has them:

    python -m venv peers; echo $PWD/.venv/lib/python3.11/site-packages > peers/lib/python3.11/site-packages/main.pth
    peers/bin/pip install --no-deps pybloomfilter3 datatrove==0.10.1 loguru humanize xxhash==3.5.0
    peers/bin/pip install -c constraints.txt spacy
    peers/bin/python -m benchmarks.dedup
"""

from collections.abc import Callable, Iterable, Iterator

from benchmarks.dedup_near import near
from benchmarks.table import Comparison, Options, main

PARTS: dict[str, Callable[[Options], Iterable[Comparison]]] = {"near": near}


def run(options: Options) -> Iterator[Comparison]:
    """All parts, or those that were asked for."""
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            print(f"---- {name}", flush=True)
            yield from part(options)


if __name__ == "__main__":
    main("dedup", run, tuple(PARTS))
