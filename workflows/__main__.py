"""The command `parsl`: run, plan, doctor, status, logs, attach, cancel, report, trace, replay-spike, why, forget, ask, ...

`python -m workflows` is the same. Parsl itself ships no command of this name (a test watches for that).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from schemas.table import ContractError
from stages.base import PACKAGE_ROOT, SettingsError
from workflows import commands
from workflows.overrides import read_overrides
from workflows.plan.command import add_flags as add_plan_flags
from workflows.plan.parsing import add_flags as add_parsing_flags
from workflows.plan.saving import add_flags as add_failure_flags
from workflows.scaling.command import add_command as add_fit_scaling

EXIT_FAILED, EXIT_SETTINGS, EXIT_CONTRACT, EXIT_INTERRUPTED = 1, 2, 3, 130
WIDE = 200
WEIGHTS = PACKAGE_ROOT / "stages" / "parse" / "router" / "weights.json"
PRETRAIN = PACKAGE_ROOT / "workflows" / "pretrain.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, do it, and exit: 0, 1 a stage failed, 2 settings, 3 contract."""
    options = parser().parse_args(arguments)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    try:
        code = options.do(options, output())
    except SettingsError as error:
        errors.print(str(error), markup=False)
        code = EXIT_SETTINGS
    except ContractError as error:
        errors.print(str(error), markup=False)
        code = EXIT_CONTRACT
    except BrokenPipeError:  # `parsl ... | head` has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        errors.print(f"{error.strerror}: {error.filename}" if error.filename else str(error), markup=False)
        code = EXIT_FAILED
    except KeyboardInterrupt:
        errors.print("interrupted: the same command goes on from here", markup=False)
        code = EXIT_INTERRUPTED
    sys.exit(code)


def output() -> Console:
    """A console as wide as its terminal; where there is none, wide enough that no table is folded."""
    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)
    return Console(highlight=False, emoji=False, soft_wrap=True, width=WIDE)


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = argparse.ArgumentParser(prog="parsl", description="Run a recipe's stages on a site.")
    verbs = top.add_subparsers(required=True, metavar="COMMAND")
    run = _verb(verbs, "run", commands.run, "run what is not done yet, then write the report")
    run.add_argument("--force", action="store_true", help="redo the selected stages even if they are done")
    run.add_argument(
        "--on-failure",
        action="append",
        default=[],
        metavar="CLASS=ACTION[:LIMIT]",
        help="what to do about a class of failure: node-lost=resubmit:5, out-of-memory=stop; see docs/failures.md",
    )
    _endpoint(run)
    run.add_argument(
        "--simulate", action="store_true", help="with test doubles of the site's scheduler, on this machine"
    )
    plan = _verb(verbs, "plan", commands.plan, "what would run, what is done, and why; runs nothing")
    add_plan_flags(plan)
    add_failure_flags(plan)
    add_parsing_flags(plan)
    status = _verb(verbs, "status", commands.status, "how far each stage is")
    status.add_argument("--run", metavar="ID", help="of a run that was sent to an endpoint")
    _endpoint(status)
    _remote(verbs)
    _verb(verbs, "report", commands.report, "write the report again")
    _trace(verbs)
    words = "a document's whole life, from its file to the token file or to the reason it was dropped"
    why = _recipe_verb(verbs, "why", commands.why, words, "document")
    why.add_argument("--json", action="store_true", help="for programs")
    words = "take a document and its copies out of every output; shows what it would do"
    forget = _recipe_verb(verbs, "forget", commands.forget, words, "document")
    forget.add_argument("--yes", action="store_true", help="do it")
    forget.add_argument("--reason", default="", metavar="TEXT", help="why, for the record that ingest refuses it by")
    forget.add_argument("--json", action="store_true", help="for programs")
    ask = _plain_verb(verbs, "ask", commands.ask, "put a question to the served model")
    ask.add_argument("prompt", nargs="?", help="the question (default: the one that deploy asked)")
    _plain_verb(verbs, "stop", commands.stop, "end the servers that deploy has left running on this machine")
    _plain_verb(verbs, "doctor", commands.doctor, "what would go wrong on a site, before anything is submitted")
    try_out = _recipe_verb(verbs, "pilot", commands.pilot, "what parse's budget buys, on a sample of the documents")
    try_out.add_argument("--documents", default="200", metavar="N", help="documents to draw, or all (default: 200)")
    _train_router(verbs)
    add_fit_scaling(verbs)
    words = "list the stages with their settings and contracts"
    verbs.add_parser("stages", help=words, description=words).set_defaults(do=commands.stages)
    return top


def _train_router(verbs: Any) -> None:
    words = "learn which pages are worth reading again (see parse.budget)"
    learn = verbs.add_parser("train-router", help=words, description=words)
    learn.add_argument("--pages", type=int, default=240, help="generated pages to read (default: 240, 20 minutes)")
    learn.add_argument(
        "--data", type=Path, metavar="DIR", help="papers with their texts, laid out as docs/design/009-parse.md says"
    )
    learn.add_argument(
        "--papers", type=Path, metavar="DIR", help="PDFs whose own good text layer is the truth of pictures of them"
    )
    learn.add_argument("--per-paper", type=int, default=4, metavar="N", help="pages of each of those (default: 4)")
    learn.add_argument(
        "--parsers", action="append", metavar="NAME", help="learn this parser (default: all that are installed)"
    )
    learn.add_argument("--served-url", default="", metavar="URL", help="learn the model behind this URL too")
    learn.add_argument("--served-model", default="", metavar="NAME", help="the name by which that server knows it")
    learn.add_argument("--folder", type=Path, default=PACKAGE_ROOT / "build", help="where pages and readings are kept")
    learn.add_argument("--out", type=Path, default=WEIGHTS, help="the weights; the plot goes beside them")
    learn.set_defaults(do=commands.train_router)


def _remote(verbs: Any) -> None:
    words = {"logs": "what a run on an endpoint has printed", "cancel": "end a run on an endpoint"}
    for name, help_words in {**words, "attach": "follow a run on an endpoint until it ends"}.items():
        verb = verbs.add_parser(name, help=help_words, description=help_words)
        verb.add_argument("--run", metavar="ID", required=True, help="as `parsl run --endpoint` printed it")
        verb.add_argument("--site", default="laptop", help="with --endpoint: the site there")
        _endpoint(verb)
        verb.set_defaults(do=getattr(commands, name))


def _endpoint(verb: argparse.ArgumentParser) -> None:
    words = "run through this endpoint of Globus Compute, detached; `here`: detached on this machine"
    verb.add_argument("--endpoint", metavar="UUID", help=words)
    verb.add_argument("--project", type=Path, metavar="DIR", help="where this project lies on the endpoint's machine")


def _verb(verbs: Any, name: str, do: Any, words: str) -> argparse.ArgumentParser:
    verb = _recipe_verb(verbs, name, do, words)
    verb.add_argument("--only", metavar="STAGE", help="this stage alone")
    verb.add_argument("--from", dest="start", metavar="STAGE", help="this stage and what follows from it")
    verb.add_argument("--until", metavar="STAGE", help="this stage and what it needs")
    verb.add_argument(
        "--shards", action="append", default=[], metavar="STAGE=N", help="run this stage as N tasks and a commit"
    )
    verb.add_argument("--stub", action="store_true", help="sample rows instead of work: tests the graph in seconds")
    verb.add_argument("--container", action="store_true", help="run each stage in its image")
    return verb


def _plain_verb(verbs: Any, name: str, do: Any, words: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=words)
    verb.add_argument("--site", default="laptop", help="name in site-configs/, or a path to a site file")
    verb.set_defaults(do=do)
    return verb


def _recipe_verb(verbs: Any, name: str, do: Any, words: str, first: str = "") -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=words)
    if first:
        verb.add_argument(first, metavar=first.upper(), help="its doc_id or the beginning of it, DOI or path")
    verb.add_argument(
        "recipe", type=Path, nargs="?", default=PRETRAIN, help="recipe file (default: workflows/pretrain.py)"
    )
    verb.add_argument("--site", default="laptop", help="name in site-configs/, or a path to a site file")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.FIELD=VALUE",
        help="change a setting; STAGE=on: add an option",
    )
    verb.add_argument("--settings", type=Path, metavar="FILE", help="settings by stage, a TOML or JSON file")
    verb.set_defaults(do=do, read_overrides=read_overrides)
    return verb


def _trace(verbs: Any) -> None:
    words = "which documents a training step saw, which steps saw a document, how many tokens of each licence"
    verb = _training_verb(verbs, "trace", commands.trace, words)
    words = "a loss spike of a training measured again, with and without the sequences that it is laid on"
    again = _training_verb(verbs, "replay-spike", commands.replay_spike, words)
    again.add_argument(
        "--step", type=int, metavar="N", required=True, help="of the spike, as `parsl trace --spikes` says"
    )
    question = verb.add_mutually_exclusive_group()
    question.add_argument("--step", type=int, metavar="N", help="documents of step N, from 1")
    question.add_argument(
        "--document", metavar="ID", help="steps that saw a document: doc_id or its beginning, DOI, path"
    )
    question.add_argument(
        "--spikes", action="store_true", help="the run's loss spikes and the documents they are laid on"
    )
    question.add_argument("--licence", action="store_true", help="tokens by licence and source, up to the last step")
    verb.add_argument("--sample", type=int, metavar="K", help="with --step: its sample K, from 1, with the text")


def _training_verb(verbs: Any, name: str, do: Any, words: str) -> argparse.ArgumentParser:
    verb = _recipe_verb(verbs, name, do, words)
    which = verb.add_mutually_exclusive_group()
    which.add_argument("--node", metavar="NAME", help="the recipe's training stage (default: its first)")
    which.add_argument("--run", type=Path, metavar="DIR", help="the output folder of a training stage, of any recipe")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.add_argument("--all", action="store_true", help="every row of a long list")
    return verb


if __name__ == "__main__":
    main()
