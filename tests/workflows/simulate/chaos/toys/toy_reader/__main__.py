import json
import shutil
import sys
from pathlib import Path

from stages.command import main
from stages.toy_reader import ToyReader


def damage() -> None:
    """Cut the input's table or its manifest in half, once; the whole file is kept beside it."""
    settings = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    table = Path(sys.argv[sys.argv.index("--rows") + 1])
    files = {"table": table / "part-00000-of-00001.parquet", "manifest": table.parent / "manifest.json"}
    file = files.get(settings["damage"])
    if file and not (kept := file.with_suffix(".kept")).exists():
        shutil.copy(file, kept)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


if __name__ == "__main__":
    damage()
    main(ToyReader)
