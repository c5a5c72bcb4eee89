"""What each command of `parsl` does."""

import argparse
import contextlib
import importlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from schemas.manifest import exists
from schemas.serving import Endpoint
from stages.base import PACKAGE_ROOT, SettingsError, Stage
from stages.deploy.stop import alive
from stages.deploy.stop import stop as stop_server
from workflows.allotment import words as allotment_words
from workflows.base import Node, Selection, load_recipe, unfinished_inputs
from workflows.endpoints import all_endpoints, answer, by_machine, curl, read_endpoints
from workflows.estimate import copies, estimate
from workflows.explain import explain_all
from workflows.failures.policy import Policies, read_policies
from workflows.failures.record import standing
from workflows.launch import StageFailed, tail
from workflows.overrides import read_shards
from workflows.site import Site, load_site


def run(options: argparse.Namespace, console: Console) -> int:
    """`parsl run`: what is selected and not done, then the report and where the model answers."""
    if options.endpoint:
        from workflows.remote.commands import start

        return start(options, console)
    from workflows.execute import prepare

    site, policies = load_site(options.site), read_policies(options.on_failure)
    unfit = _unfit(site, simulate=options.simulate)
    rehearsal = _rehearse(site, console) if options.simulate else None
    machine, nodes, selected, missing = _open(options, rehearsal.site if rehearsal else site)
    if missing := missing + unfit + machine.missing_images(selected):
        raise SettingsError("\n".join(missing))
    todo = [n for n in selected if options.force or not n.done]
    if problems := unfinished_inputs(nodes, selected):
        raise SettingsError("\n".join(problems))
    if not todo:
        console.print(f"nothing to do: all {len(selected)} stages are done (--force redoes them)")
    for node in todo:
        prepare(node, force=options.force)
    with rehearsal.running() if rehearsal else contextlib.nullcontext():
        errors = _execute(todo, machine, policies, console) if todo else []
    _finish(nodes, options, console, rewrite=bool(todo))
    for line in _failures(errors):
        console.print(line, markup=False)
    return _exit_code(errors)


def plan(options: argparse.Namespace, console: Console) -> int:
    """`parsl plan`: states and reasons, then where each stage would run and by which command."""
    if options.layouts:
        from workflows.plan.command import layouts

        return layouts(options, console)
    if options.parsing:
        from workflows.plan.parsing import parsing

        return parsing(options, console)
    if options.failures:
        from workflows.plan.saving import failures

        return failures(options, console)
    from workflows.console import print_plan

    machine, nodes, selected, missing = _open(options)
    states = explain_all(selected)
    print_plan(console, selected, states)
    left = [n for n in selected if states[n.name].verdict == "run"]
    known = [s for n in left if (s := states[n.name].seconds) is not None]
    console.print(f"\n{len(left)} of {len(selected)} stages would run on {machine.site.description}", end="")
    console.print(f", about {sum(known):.0f} s going by the last time" if known else "")
    for node in selected:
        _print_place(node, machine, console)
        if machine.site.cluster:
            console.print(f"  estimate {estimate(node, nodes, machine.site)}", markup=False)
    missing += copies(selected, machine.site)
    for problem in [*missing, *_unfit(machine.site), *machine.missing_images(selected)]:
        console.print(f"\nbefore a run: {problem}", markup=False)
    return 0


def pilot(options: argparse.Namespace, console: Console) -> int:
    """`parsl pilot`: what parse's budget buys, on a sample of the documents."""
    from workflows.pilot import pilot as run_pilot

    root = load_site(options.site).root
    overrides = options.read_overrides(options.set, options.settings)
    return run_pilot(options, load_recipe(options.recipe, root, overrides, {}).nodes, console)


def doctor(options: argparse.Namespace, console: Console) -> int:
    """`parsl doctor`: the traps of a site, found against expected."""
    from workflows.doctor import report as report_findings

    return report_findings(load_site(options.site), console)


def status(options: argparse.Namespace, console: Console) -> int:
    """`parsl status`: done, running (with progress), failed (with the log) or not started; `--run`: of a run elsewhere."""
    if options.run:
        from workflows.remote.commands import status as remote_status

        return remote_status(options, console)
    machine, _, selected, _ = _open(options)
    for node in selected:
        console.print(f"{node.name:<16}{_status(node, machine)}", markup=False)
    return 0


def logs(options: argparse.Namespace, console: Console) -> int:
    """`parsl logs`: the end of what a run on an endpoint has printed."""
    from workflows.remote.commands import logs as remote_logs

    return remote_logs(options, console)


def cancel(options: argparse.Namespace, console: Console) -> int:
    """`parsl cancel`: end a run on an endpoint."""
    from workflows.remote.commands import cancel as remote_cancel

    return remote_cancel(options, console)


def attach(options: argparse.Namespace, console: Console) -> int:
    """`parsl attach`: follow a run on an endpoint until it ends."""
    from workflows.remote.commands import attach as remote_attach

    return remote_attach(options, console)


def report(options: argparse.Namespace, console: Console) -> int:
    """`parsl report`: write the report of what is there."""
    _, nodes, _, _ = _open(options)
    _finish(nodes, options, console, rewrite=True)
    return 0


def trace(options: argparse.Namespace, console: Console) -> int:
    """`parsl trace`: the documents of a step, the steps of a document, the tokens of each licence."""
    from workflows.trace import trace as answer_trace

    return answer_trace(options, console)


def replay_spike(options: argparse.Namespace, console: Console) -> int:
    """`parsl replay-spike`: a recorded loss spike measured again, with and without what it is laid on."""
    from workflows.trace import replay_spike as measure_again

    return measure_again(options, console)


def why(options: argparse.Namespace, console: Console) -> int:
    """`parsl why`: what became of a document, and in which row of which stage that is written."""
    from workflows.why import why as answer_why

    return answer_why(options, console)


def forget(options: argparse.Namespace, console: Console) -> int:
    """`parsl forget`: what taking a document down would change; with `--yes`, it is changed."""
    from workflows.forget import forget as do_forget

    return do_forget(options, console)


def ask(options: argparse.Namespace, console: Console) -> int:
    """`parsl ask`: one question to the newest living server, and its answer."""
    here, elsewhere = by_machine(all_endpoints(load_site(options.site).root))
    living = [e for e in here if alive(e)]
    if not living:
        for endpoint in elsewhere:
            console.print(f"{endpoint.url} is a server on {endpoint.host}: ask it there", markup=False)
        console.print("no server is running here: parsl run --only deploy --force starts one again")
        return 1
    prompt = options.prompt or living[-1].prompt
    console.print(f"{prompt}\n{answer(living[-1], prompt)}", markup=False)
    return 0


def stop(options: argparse.Namespace, console: Console) -> int:
    """`parsl stop`: end every server under the site's root that is still alive on this machine."""
    here, elsewhere = by_machine(all_endpoints(load_site(options.site).root))
    ended = [e for e in here if stop_server(e)]
    for endpoint in ended:
        console.print(f"stopped {endpoint.model} at {endpoint.url}")
    for endpoint in elsewhere:
        console.print(f"{endpoint.url} was started on {endpoint.host}: say parsl stop there", markup=False)
    if not ended:
        console.print("no server is running here")
    return 0


def train_router(options: argparse.Namespace, console: Console) -> int:
    """`parsl train-router`: new weights for the router of parse, with their calibration plot."""
    from workflows.train_router import train_router as learn

    return learn(options, console)


def stages(_options: argparse.Namespace, console: Console) -> int:
    """`parsl stages`: every stage with its contract and its settings' defaults."""
    for stage in all_stages():
        reads = ", ".join(f"{k}: {r.contract()}" for k, r in stage.inputs.items()) or "files"
        writes = ", ".join(f"{k}: {r.contract()}" for k, r in stage.outputs.items())
        summary = (stage.__doc__ or "").strip().split("\n")[0]
        console.print(f"[bold]{stage.name}[/] ({stage.resources}, version {stage.version})  {summary}")
        console.print(f"  reads   {reads}\n  writes  {writes}", markup=False)
        for name, info in stage.model_fields.items():
            console.print(f"  {stage.name}.{name} = {info.default!r}", markup=False, style="dim")
    return 0


def all_stages() -> list[type[Stage]]:
    """The stage classes under `stages/`, by name."""
    for file in sorted((PACKAGE_ROOT / "stages").glob("*/__main__.py")):
        importlib.import_module(f"stages.{file.parent.name}")
    return sorted((s for s in Stage.__subclasses__() if s.__module__.startswith("stages.")), key=lambda s: s.name)


# ---- shared by the commands


def _open(options: argparse.Namespace, site: Site | None = None) -> tuple[Any, list[Node], list[Node], list[str]]:
    from workflows.execute import Machine

    site = site or load_site(options.site)
    root = site.root / "stub" if options.stub else site.root  # sample rows must never look like a real output
    overrides = options.read_overrides(options.set, options.settings)
    recipe = load_recipe(options.recipe, root, overrides, read_shards(options.shards))
    selected = Selection(options.only, options.start, options.until).apply(recipe.nodes)
    return Machine(site, options.container, options.stub), recipe.nodes, selected, recipe.missing


def _unfit(site: Site, *, simulate: bool = False) -> list[str]:
    """What keeps a run from starting on a site: variables that are not set, and whatever the doctor finds."""
    from workflows.doctor import examine

    unset = [] if simulate else [f"site {site.name}: set {name} in the environment" for name in site.missing()]
    elsewhere = {"account", "storage-root"} if simulate else {"account"}  # an account is among the variables
    return unset + [f"site {site.name}: {f}" for f in examine(site) if f.rule.name not in elsewhere]


def _rehearse(site: Site, console: Console) -> Any:
    from workflows.simulate.rehearsal import Rehearsal

    rehearsal = Rehearsal.of(site)
    console.print(f"simulating {site.description}: all as in site-configs/{site.name}.py but")
    for override in rehearsal.overrides:
        console.print(f"  {override}", markup=False)
    return rehearsal


def _execute(todo: Sequence[Node], machine: Any, policies: Policies, console: Console) -> list[StageFailed]:
    from workflows.console import Watcher
    from workflows.execute import execute
    from workflows.failures.recovery import Recovery

    recovery = Recovery(policies, lambda line: console.print(line, markup=False))
    with Watcher(console) as watch:
        return execute(todo, machine, watch, recovery)


def _finish(nodes: Sequence[Node], options: argparse.Namespace, console: Console, *, rewrite: bool) -> None:
    file = nodes[0].path.parent.parent / "reports" / f"{options.recipe.stem}.html"
    if rewrite or not file.is_file():
        from workflows.report import write_report

        file.parent.mkdir(parents=True, exist_ok=True)
        write_report(nodes, file, options.recipe.stem)
    console.print(f"report    {file}", markup=False)
    for node in nodes:
        if node.done and not options.stub:
            for endpoint in read_endpoints(node.path):
                _print_endpoint(endpoint, node, console)


def _print_endpoint(endpoint: Endpoint, node: Node, console: Console) -> None:
    if by_machine([endpoint])[1]:
        console.print(f"server    {endpoint.url} on {endpoint.host}  (parsl ask and parsl stop: there)", markup=False)
        return
    if not alive(endpoint):
        console.print(f"server    stopped; start it again: parsl run --only {node.name} --force", markup=False)
        return
    console.print(f"server    {endpoint.url}  (parsl stop ends it)", markup=False)
    console.print(f"ask it    {curl(endpoint)}", markup=False)


def _print_place(node: Node, machine: Any, console: Console) -> None:
    site = cast("Site", machine.site)
    resource = site.resources[node.stage.resources]
    words = [node.stage.resources, f"executor {resource.executor}", f"{resource.nodes} node(s)"]
    words += [f"{resource.nodes * resource.ranks_per_node} rank(s)"]
    words += [f"queue {resource.queue}"] if resource.queue else []
    words += [f"walltime {resource.walltime}"] if resource.walltime else []
    console.print(f"\n{node.name}: {', '.join(words)}", markup=False)
    if machine.container or site.cluster:
        when = "" if machine.container else " (with --container)"
        console.print(f"  image    {site.image(node.stage.name, resource)}{when}", markup=False)
    if resource.launch:
        console.print(f"  launch   {shlex.join(resource.launch_line())}", markup=False)
    for task in machine.tasks(node)[:1]:
        console.print(f"  command  {shlex.join(task.command)}", markup=False)
    if node.shards > 1:
        console.print(f"  shards   {node.shards}, then --commit {node.shards}", markup=False)
    if budget := allotment_words(node):
        console.print(f"  budget   {budget}", markup=False)


def _status(node: Node, machine: Any) -> str:
    from workflows.console import progress_words

    if exists(node.path):
        manifest = node.manifest()
        rows = ", ".join(f"{o.num_rows} {name}" for name, o in manifest.outputs.items())
        return f"done      {manifest.seconds:.1f} s, {rows}"
    running = [t for t in machine.tasks(node) if _locked(t.log, node.path)]
    if running:
        return "running   " + "; ".join(f"{t.label} {progress_words(t)}".strip() for t in running)
    logs = sorted((node.path / "log").glob("*.txt"), key=lambda f: f.stat().st_mtime)
    if logs:
        last: object = (tail(logs[-1]).strip().splitlines() or ["no output"])[-1]
        if failure := standing(node.path / "log"):
            last = f"{failure.task} failed: {failure}"
        return f"not done  {last}\n{'':<16}          log: {logs[-1]}"
    return "waiting"


def _locked(log: Path, folder: Path) -> bool:
    """Whether a process holds the lock of the shard whose log this is."""
    import fcntl

    name = {"run": "00000-of-00001"}.get(log.stem, log.stem)
    file = folder / "locks" / name
    if not file.is_file():
        return False
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _failures(errors: Sequence[StageFailed]) -> Iterator[str]:
    for error in errors:
        yield f"\n{error}\n  log      {error.log}\n  mend the cause and run the same command again: done stages stay done"


def _exit_code(errors: Sequence[StageFailed]) -> int:
    """A stage's own code where it means settings (2) or contract (3), else 1; 0 if nothing failed."""
    codes = [e.code for e in errors]
    return codes[0] if codes and codes[0] in (2, 3) else int(bool(errors))
