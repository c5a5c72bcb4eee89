"""From a step to the documents that it learned from, and from a document to the steps that saw it.

Nothing about this is stored but a digest a step: the samples of a step are computed anew from the order, and the digest
of what comes out must be the ledger's. A sample of T + 1 tokens gives T inputs; the token after them is the last target
and, mostly, the first input of another sample. So tokens are counted as inputs: a step has `batch_sequences x T` of them,
padding included, and no token of a sample is counted twice.
"""

import argparse
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.training import BatchLedger
from stages.base import SettingsError
from workflows.base import Node, load_recipe, nearest
from workflows.site import load_site

if TYPE_CHECKING:
    from rich.console import Console

MAX_RUNS = 5  # of others that may be meant, the newest first
PACKAGES = {"duckdb": "report", "numpy": "tokenize"}  # and the extra that brings each


def trace(options: argparse.Namespace, console: "Console") -> int:
    """`parsl trace`: find the run, answer the question, print it as a table or as JSON."""
    if options.sample is not None and options.step is None:
        raise SettingsError("--sample is one of a step: give --step N too")
    _require(PACKAGES, "trace")
    from workflows.trace import answers, show
    from workflows.trace.training import Training

    training = Training.open(_folder(options))
    every = options.all or options.json
    if options.step is not None and options.sample is not None:
        answer, shown = answers.sample(training, options.step, options.sample), show.show_step
    elif options.step is not None:
        answer, shown = answers.step(training, options.step, None if every else show.MAX_ROWS), show.show_step
    elif options.document is not None:
        answer, shown = answers.document(training, options.document), show.show_document
    elif options.spikes:
        answer, shown = answers.spikes(training), show.show_spikes
    elif options.licence:
        answer, shown = answers.licences(training), show.show_licences
    else:
        answer, shown = answers.summary(training), show.show_summary
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        shown(answer, console, every=every)
    return 0


def replay_spike(options: argparse.Namespace, console: "Console") -> int:
    """`parsl replay-spike`: a recorded spike measured again, with and without the sequences that it is laid on."""
    _require({**PACKAGES, "torch": "pretrain"}, "replay-spike")
    from workflows.trace.replay import replay
    from workflows.trace.show import show_replay
    from workflows.trace.training import Training

    answer = replay(Training.open(_folder(options)), options.step)
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
    else:
        show_replay(answer, console, every=options.all)
    return 0


def _require(packages: Mapping[str, str], command: str) -> None:
    if missing := [p for p in packages if importlib.util.find_spec(p) is None]:
        extras = ",".join(dict.fromkeys(packages[p] for p in missing))
        raise SettingsError(f"{command} needs {', '.join(missing)}: pip install -e '.[{extras}]'")


def _folder(options: argparse.Namespace) -> Path:
    """The output of the training that is meant: of a node of the recipe, or given."""
    if options.run is not None:
        return Path(options.run).resolve()
    overrides = options.read_overrides(options.set, options.settings)
    recipe = load_recipe(options.recipe, load_site(options.site).root, overrides)
    node = _node(recipe.nodes, options.node)
    if not node.done:
        manifests = sorted(node.path.parent.glob("*/manifest.json"), key=lambda f: -f.stat().st_mtime)
        others = [str(f.parent) for f in manifests[:MAX_RUNS]]
        hint = "give the settings that it ran with (--set), or --run DIR"
        raise SettingsError(
            "\n".join([f"{node.name} is not done at {node.path}: {hint}", *(f"  --run {o}" for o in others)])
        )
    return node.path


def _node(nodes: Sequence[Node], name: str | None) -> Node:
    """The node of this name, else the first that writes a ledger."""
    writers = [n for n in nodes if BatchLedger in n.stage.outputs.values()]
    names = [n.name for n in writers]
    if name is None and writers:
        return writers[0]
    if name not in names:
        asked = f"--node {name}: no such training" if name else "the recipe has no stage that writes a ledger"
        raise SettingsError(f"{asked}; {nearest(name or '', names, 'trainings') if names else 'give --run DIR'}")
    return writers[names.index(name)]
