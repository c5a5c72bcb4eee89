"""Make the demo corpus: `python -m examples [FOLDER] [--articles N] [--seed S]`."""

import argparse
import sys
import time
from pathlib import Path

from examples.marker import CorpusError, is_complete, truth_folder

FOLDER = Path(__file__).parent / "corpus"


def main(arguments: list[str] | None = None) -> int:
    """Make the corpus unless it is there; exit code 2 for what cannot be made."""
    options = _parser().parse_args(arguments)
    folder, count, seed = options.folder, options.articles, options.seed
    if is_complete(folder, count, seed):
        print(f"{folder} is complete ({count} articles, seed {seed}): nothing to do")
        return 0
    try:
        from examples.collection import make
    except ImportError as error:
        print(f"examples needs the package {error.name}: pip install -e '.[examples]'", file=sys.stderr)
        return 2
    start = time.monotonic()
    try:
        kinds = make(folder, count, seed, lambda line: print(f"  {line}", flush=True))
    except (CorpusError, OSError) as error:
        print(f"examples: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {sum(kinds.values())} documents in {time.monotonic() - start:.0f} s")
    print("  " + ", ".join(f"{number} {kind}" for kind, number in kinds.items()))
    print(f"  true texts and manifest in {truth_folder(folder)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples",
        description="Make a corpus of articles about invented materials: PDFs, scans, broken text layers, duplicates, "
        "other formats and bad files, with their true texts in FOLDER-truth.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=FOLDER, metavar="FOLDER", help="default: examples/corpus"
    )
    parser.add_argument("--articles", type=int, default=80, metavar="N", help="PDF articles, 12 to 400 (default: 80)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, another catalogue (default: 0)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
