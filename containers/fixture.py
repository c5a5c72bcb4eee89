"""Ten rows for a stage to work on inside its image: ten papers of the demo corpus, led through the stages before it.

Among the ten are a copy, one in another language and one whose licence forbids training, so that stages that drop have
something to drop.
"""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from schemas.corpus import SourceFile
from schemas.manifest import Manifest
from schemas.table import ContractError, sha256_file
from stages.base import PACKAGE_ROOT, SettingsError, Stage
from stages.tables import Reader, Writer
from workflows.base import Node, Selection, load_recipe

SPEED = "tokens_per_second"
NUM_ARTICLES = 12  # the fewest that the demo corpus can be made of
KINDS = Counter(
    {
        "born-digital": 2,
        "other-language": 1,
        "refused-licence": 1,
        "near-duplicate": 1,
        "markdown": 2,
        "text": 1,
        "jats": 2,
    }
)
SETTINGS: dict[str, dict[str, Any]] = {
    "train_tokenizer": {"vocab_size": 400},
    "index": {"num_steps": 2, "sequence_tokens": 64, "batch_sequences": 2},
    "pretrain": {"depth": 1, "width": 64, "warmup_steps": 1},
    "dedup": {"num_decoys": 0},
}


def papers(folder: Path) -> Path:
    """Ten files of the demo corpus, with their licences, in `folder/papers`; made once."""
    target = folder / "papers"
    if target.is_dir():
        return target
    from examples.collection import make
    from examples.marker import truth_folder

    made = folder / "corpus"
    make(made, NUM_ARTICLES, 0, lambda _: None)
    left = KINDS.copy()
    partial = folder / "papers.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for line in (truth_folder(made) / "manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        file = made / row["path"]
        if left[row["kind"]] > 0 and file.is_file():
            left[row["kind"]] -= 1
            for part in file.parent.glob(f"{file.stem}.*"):
                shutil.copyfile(part, partial / part.name)
    if missing := [f"{count} of kind {kind} too few" for kind, count in left.items() if count]:
        raise ContractError(f"the demo corpus in {made}", missing)
    partial.rename(target)
    return target


def graph(recipe: Path, folder: Path) -> list[Node]:
    """The nodes of a recipe on the ten papers, with settings under which each stage takes seconds."""
    found: dict[str, dict[str, Any]] = {"ingest": {"paths": [str(papers(folder))]}, **SETTINGS}
    known = {n.stage.name for n in load_recipe(recipe, folder / "runs", {}).nodes}
    return load_recipe(recipe, folder / "runs", {k: v for k, v in found.items() if k in known}).nodes


def build_fixture(stage: type[Stage], folder: Path, target: Path, recipe: Path | None = None) -> None:
    """Run what the stage reads from, under `folder`, and write its inputs and settings into `target`."""
    nodes = graph(recipe or PACKAGE_ROOT / "workflows" / "pretrain.py", folder)
    node = next((n for n in nodes if n.stage.name == stage.name), None)
    if node is None:
        raise SettingsError(f"containers: {stage.name} is in no recipe, so it has no fixture")
    run_before(nodes, node)
    target.mkdir(parents=True)
    inputs = {key: f"{p.node.stage.name}/{p.node.fingerprint}/{p.output}" for key, p in node.inputs.items()}
    for port in {p.node: p for p in node.inputs.values()}.values():
        copy_output(port.node, target / port.node.stage.name / port.node.fingerprint)
    settings = node.stage.model_dump(mode="json")
    if stage.name == "ingest":
        settings["paths"] = ["papers"]  # below the folder in which the test runs
    if stage.name in ("ingest", "parse"):
        shutil.copytree(papers(folder), target / "papers")
    (target / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")
    (target / "fixture.json").write_text(json.dumps({"stage": stage.name, "inputs": inputs}, indent=1) + "\n")


def run_before(nodes: list[Node], node: Node) -> None:
    """Run all that `node` reads from and that is not done yet, on this machine."""
    from workflows.execute import Machine, execute, prepare
    from workflows.site import load_site

    names = {m.name for p in node.inputs.values() for m in Selection(until=p.node.name).apply(nodes)}
    todo = [n for n in nodes if n.name in names and not n.done]
    for one in todo:
        prepare(one, force=False)
    root = node.path.parent.parent
    if (
        errors := execute(todo, Machine(load_site("laptop").model_copy(update={"root": root})), lambda _: None)
        if todo
        else []
    ):
        raise errors[0]


def copy_output(node: Node, target: Path) -> None:
    """Copy a finished output; rows that point at the papers by absolute path then point at those beside the copy."""
    shutil.copytree(node.path, target, ignore=shutil.ignore_patterns("log", "locks", "progress", "done"))
    if node.stage.name == "ingest":
        point_beside(target)


def point_beside(folder: Path) -> None:
    """Write the table `sources` again, its files two folders up in `papers`."""
    reader = Reader(folder / "sources", SourceFile)
    rows = list(reader.rows())
    writer = Writer(folder, "sources", SourceFile, (0, 1))
    for row in rows:
        blob = row.blob and row.blob.model_copy(update={"path": f"../../papers/{Path(row.blob.path).name}"})
        writer.write(row.model_copy(update={"blob": blob}))
    output = writer.close()
    manifest = Manifest.read(folder)
    manifest.model_copy(update={"outputs": {**manifest.outputs, "sources": output}}).write(folder)


def digest(folder: Path) -> dict[str, str]:
    """Digests of the Parquet files under an output, by path: what two runs of a stage are compared by."""
    return {str(f.relative_to(folder)): digest_of(f) for f in sorted(folder.rglob("*.parquet"))}


def digest_of(file: Path) -> str:
    """The digest of a Parquet file's bytes; where a column says how fast a run was, of its other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    if SPEED not in table.column_names:
        return sha256_file(file)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, (rest := table.drop_columns([SPEED])).schema) as stream:
        stream.write_table(rest)
    return hashlib.sha256(sink.getvalue()).hexdigest()
