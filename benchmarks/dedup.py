"""Deduplication, ours and each peer in turn on the same corpus; results are compared before times.

    python -m benchmarks.dedup [--only PART] [--quick] [--data LABELLED.jsonl.gz]

    near        the near-duplicate pass, one core: datasketch, rensa
    accuracy    what is dropped and whether it should be: exact Jaccard, tuned MinHashLSH
    end-to-end  both stages, reading and writing, two workers: datatrove
    rates       strangers taken for known at a million documents: nominal, datasketch's sums
    size        bytes of the index: theory, MinHashLSH
    scale       10 k to 10 M documents through both stages: memory, time, what five billion would take

datasketch's LSHBloom needs a compiled filter, and datatrove 0.10 and spaCy do not go with this project's pins; make an
environment that sees this one and has them:

    python -m venv peers; echo $PWD/.venv/lib/python3.11/site-packages > peers/lib/python3.11/site-packages/main.pth
    peers/bin/pip install --no-deps pybloomfilter3 datatrove==0.10.1 loguru humanize orjson xxhash==3.5.0
    peers/bin/pip install -c constraints.txt spacy
    peers/bin/python -m benchmarks.dedup
"""

from collections.abc import Callable, Iterable, Iterator

from benchmarks.dedup_accuracy import accuracy
from benchmarks.dedup_datatrove import end_to_end
from benchmarks.dedup_filters import index_size, rates
from benchmarks.dedup_near import near
from benchmarks.dedup_scale import scale
from benchmarks.table import Comparison, Options, main

PARTS: dict[str, Callable[[Options], Iterable[Comparison]]] = {
    "near": near,
    "accuracy": accuracy,
    "end-to-end": end_to_end,
    "rates": rates,
    "size": index_size,
    "scale": scale,
}


def run(options: Options) -> Iterator[Comparison]:
    """All parts, or those that were asked for."""
    for name, part in PARTS.items():
        if not options.only or name in options.only:
            print(f"---- {name}", flush=True)
            yield from part(options)


if __name__ == "__main__":
    main("dedup", run, tuple(PARTS))
