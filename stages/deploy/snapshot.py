"""A model folder as a private Hugging Face cache, so that `transformers serve` knows it by a short name.

`transformers serve PATH` answers only requests that say that whole path as `model`, and its /v1/models lists the user's
cache and not the model served. A cache of one repository (links, nothing copied) gives both a name.
Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import hashlib
import re
import shutil
from pathlib import Path

from schemas.training import Model

REVISION_CHARS = 40  # as a git commit's


def served_name(name: str) -> str:
    """`name` as the hub allows one: letters, digits, `.`, `_`, `-`, nothing doubled, a letter or digit at both ends."""
    words = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    words = re.sub(r"([-.])[-.]+", r"\1", words)[:90].strip("-._")
    return words or "model"


def link_snapshot(cache: Path, model: Model, folder: Path) -> str:
    """Make `cache` hold `model` (its files in `folder`) and nothing else; returns the name that it is served under."""
    name = served_name(model.name)
    revision = hashlib.sha256("".join(f.sha256 for f in model.files).encode()).hexdigest()[:REVISION_CHARS]
    shutil.rmtree(cache, ignore_errors=True)
    repository = cache / f"models--{name}"
    snapshot = repository / "snapshots" / revision
    for new in (snapshot, repository / "refs", repository / "blobs"):
        new.mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    for blob in model.files:
        file = Path(blob.path).name
        (snapshot / file).symlink_to((folder / file).resolve())
    return name
