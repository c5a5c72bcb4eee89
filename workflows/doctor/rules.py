"""The traps of the machines, each a small pure function of a site and its Parsl configuration: found against expected."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from workflows.cluster import Cluster
from workflows.doctor.binding import by_depth, entries, outside
from workflows.facility import KNOWN, destination, processors, seconds
from workflows.site import Resource, Site

ALCF = "https://docs.alcf.anl.gov"
SOCKET_BYTES = 108  # sun_path of unix(7), with the zero at its end
SOCKET_NAME = "/pymp-xxxxxxxx/listener-xxxxxxxx"  # what Python's multiprocessing puts under TMPDIR
DRAIN_MARGIN = 60  # seconds: the least that makes sense of a grace

Problem = tuple[str, str]  # found, expected


class Subject(NamedTuple):
    """What the rules look at."""

    site: Site
    cluster: Cluster
    executors: Mapping[str, Any]

    @classmethod
    def of(cls, site: Site, config: Any) -> "Subject":
        """A site that has a cluster, with the executors of its Parsl configuration that run there."""
        assert site.cluster
        return cls(site, site.cluster, {e.label: e for e in config.executors if getattr(e, "provider", None)})

    def jobs(self) -> Iterator[tuple[str, Any]]:
        """Executors that submit jobs, by label, with their providers."""
        return ((label, e.provider) for label, e in self.executors.items() if hasattr(e.provider, "walltime"))

    def launched(self) -> dict[str, Resource]:
        """Resources with a launch line of their own, by size."""
        return {size: r for size, r in self.site.resources.items() if r.launch}


class Rule(NamedTuple):
    """A trap: what is asked, what happens to whom falls into it, where that is written, and the check."""

    name: str
    asks: str
    trap: str
    source: str
    check: Callable[[Subject], Iterator[Problem]]


def tile_names(s: Subject) -> Iterator[Problem]:
    """Names of tiles fit the hierarchy in which the workers see them."""
    for size, resource in s.site.resources.items():
        names = getattr(s.executors.get(resource.executor), "available_accelerators", [])
        default = "FLAT" if "frameworks" in s.cluster.worker_init else ""
        hierarchy = resource.env.get("ZE_FLAT_DEVICE_HIERARCHY", default)
        dotted = [n for n in names if "." in n]
        if hierarchy == "FLAT" and dotted:
            yield f"{size}: {', '.join(dotted[:3])}... with FLAT", f"0 to {s.cluster.node.devices - 1}"
        if hierarchy == "COMPOSITE" and names and not dotted:
            yield f"{size}: {', '.join(names[:3])}... with COMPOSITE", "GPU.TILE, as 0.0, 0.1, 1.0"


def affinity_entries(s: Subject) -> Iterator[Problem]:
    """As many lists of processors as workers, and as many as ranks."""
    for label, e in s.executors.items():
        found = entries(getattr(e, "cpu_affinity", "none"))
        if found and len(found) != e.max_workers_per_node:
            yield f"{label}: {len(found)} entries", f"{e.max_workers_per_node}, one a worker"
    for size, r in s.launched().items():
        found = entries(_bind(r))
        if found and len(found) != r.ranks_per_node:
            yield f"{size}: {len(found)} entries in --cpu-bind", f"{r.ranks_per_node}, one a rank"


def reserved_cores(s: Subject) -> Iterator[Problem]:
    """Nothing is bound to processors that the system keeps, or that are not there."""
    reserved = processors(s.cluster.node.reserved)
    for where, shares in _bindings(s):
        used = set().union(*shares)
        if used & reserved:
            yield f"{where}: {_some(used & reserved)}", f"none of {s.cluster.node.reserved}"
        if beyond := {p for p in used if p >= s.cluster.node.threads}:
            yield f"{where}: {_some(beyond)}", f"0 to {s.cluster.node.threads - 1}"


def numa_split(s: Subject) -> Iterator[Problem]:
    """No worker and no rank is spread over two NUMA domains."""
    domains = [processors(d) for d in s.cluster.node.numa]
    for where, shares in _bindings(s):
        for index in outside(shares, domains):
            yield f"{where}: entry {index} on {_some(shares[index])}", f"inside one of {'; '.join(s.cluster.node.numa)}"


def filesystems(s: Subject) -> Iterator[Problem]:
    """A job names the filesystems that it needs, of those that the machine has."""
    if not s.cluster.filesystems:
        return
    known = [f.name for f in s.cluster.filesystems]
    for label, provider in s.jobs():
        _, given, rest = provider.scheduler_options.partition("filesystems=")
        if not given:
            yield f"{label}: no filesystems", f"#PBS -l filesystems={':'.join(known)}"
        names = rest.split()[0].split(":") if given else []
        for name in names:
            if name not in known and not name.startswith("daos"):
                yield f"{label}: filesystems={name}", f"of {', '.join(known)}"


def foreign_paths(s: Subject) -> Iterator[Problem]:
    """No path on a filesystem that is mounted elsewhere only."""
    ours = {f.name for f in s.cluster.filesystems}
    texts = {"root": str(s.site.root), "images": str(s.site.images), "container": " ".join(s.site.container)}
    texts["worker_init"] = s.cluster.worker_init
    for other in (f for f in KNOWN if ours and f.name not in ours):
        for where, text in texts.items():
            if any(f"{mount}/" in f"{text}/" or f"{mount} " in text for mount in other.mounts):
                yield f"{where}: {text}", f"a path on {', '.join(sorted(ours))}; copy from {other.name} by Globus"


def storage_root(s: Subject) -> Iterator[Problem]:
    """What is written lies on a project filesystem that the jobs have asked for."""
    mounts = [m for f in s.cluster.filesystems if f.name != "home" for m in f.mounts]
    if mounts and not any(PurePath(s.site.root).is_relative_to(m) for m in mounts):
        yield f"root {s.site.root}", f"a folder below {' or '.join(mounts)}"


def queue_limits(s: Subject) -> Iterator[Problem]:
    """Every job fits the queue that it is sent to, and one of those to which that queue routes."""
    queues = {q.name: q for q in s.cluster.queues}
    for label, p in s.jobs():
        name = getattr(p, "queue", "")
        if not queues:
            continue
        if name not in queues:
            yield f"{label}: queue {name!r}", f"one of {', '.join(queues)}"
        elif not queues[name].direct:
            yield f"{label}: queue {name}", f"{name} is filled by routing only: submit to prod"
        elif problems := queues[name].misfits(p.nodes_per_block, p.walltime):
            yield f"{label}: {'; '.join(problems)}", "nodes and walltime inside the queue's limits"
        elif destination(s.cluster.queues, name, p.nodes_per_block, p.walltime) is None:
            limits = [f"{q} {queues[q].max_walltime}" for q in queues[name].routes_to]
            yield f"{label}: {p.nodes_per_block} node(s) for {p.walltime}", f"what fits one of {', '.join(limits)}"


def queue_counts(s: Subject) -> Iterator[Problem]:
    """The executors together have no more jobs in a queue than it takes of one user."""
    asked = Counter[str]()
    for _, p in s.jobs():
        asked[getattr(p, "queue", "")] += p.max_blocks
    for queue in s.cluster.queues:
        if queue.per_user is not None and asked[queue.name] > queue.per_user:
            yield f"{asked[queue.name]} jobs in {queue.name}", f"{queue.per_user} of one user, queued and running"


def short_tmpdir(s: Subject) -> Iterator[Problem]:
    """Workers have a TMPDIR under which a socket's path still fits."""
    longest = SOCKET_BYTES - 1 - len(SOCKET_NAME)
    for label, p in s.jobs():
        value = _exported(p.worker_init, "TMPDIR")
        if value is None:
            yield f"{label}: TMPDIR not set", "export TMPDIR=/tmp in worker_init"
        elif len(value) > longest:
            yield f"{label}: TMPDIR of {len(value)} characters", f"at most {longest}"


def proxy(s: Subject) -> Iterator[Problem]:
    """Workers know the way out of a compute node, and do not take it to reach themselves."""
    for label, p in s.jobs() if s.cluster.proxy else ():
        for name in ("http_proxy", "https_proxy"):
            value = _exported(p.worker_init, name)
            if value != s.cluster.proxy:
                yield f"{label}: {name}={value or ''}", f"{name}={s.cluster.proxy}"
        without = (_exported(p.worker_init, "no_proxy") or "").split(",")
        if missing := {"localhost", "127.0.0.1"} - set(without):
            yield f"{label}: no_proxy without {', '.join(sorted(missing))}", "our servers listen there"


def simple_launcher(s: Subject) -> Iterator[Problem]:
    """What starts its own ranks is started once; what uses many nodes otherwise has a manager on each."""
    own = {r.executor for r in s.launched().values()}
    for label, e in s.executors.items():
        kind, simple = type(e.provider.launcher).__name__, type(e.provider.launcher).__name__ == "SimpleLauncher"
        if (label in own or type(e).__name__ == "MPIExecutor") and not simple:
            yield f"{label}: {kind}", "SimpleLauncher: the stage's own launch line spans the job"
        if label not in own and simple and e.provider.nodes_per_block > 1:
            yield f"{label}: SimpleLauncher on {e.provider.nodes_per_block} nodes", "a launcher with a manager a node"


def drain(s: Subject) -> Iterator[Problem]:
    """Workers stop taking tasks before their job is killed."""
    for label, p in s.jobs():
        period = s.executors[label].drain_period
        if period is None or period > seconds(p.walltime) - DRAIN_MARGIN or period <= 0:
            yield f"{label}: drain_period {period} s", f"less than the walltime, {seconds(p.walltime)} s"


def account(s: Subject) -> Iterator[Problem]:
    """Jobs are charged to a project."""
    for label, p in s.jobs():
        if s.cluster.queues and not p.account:
            yield f"{label}: no account", "BOREALIS_ACCOUNT set to the project"


def _bindings(s: Subject) -> Iterator[tuple[str, list[set[int]]]]:
    """Every way in which processes are bound: workers of an executor, ranks of a launch line."""
    for label, e in s.executors.items():
        yield f"{label}: cpu_affinity", entries(getattr(e, "cpu_affinity", "none"))
    for size, r in s.launched().items():
        bind = _bind(r)
        shares = by_depth(s.cluster.node, r.ranks_per_node, _depth(r)) if bind == "depth" else entries(bind)
        yield f"{size}: --cpu-bind", shares


def _bind(resource: Resource) -> str:
    """The value of `--cpu-bind`, given as one word or as two."""
    return _option(resource, "--cpu-bind") or ""


def _depth(resource: Resource) -> int:
    return int(_option(resource, "--depth") or _option(resource, "-d") or "1")


def _option(resource: Resource, name: str) -> str | None:
    words = list(resource.launch)
    joined = next((w.partition("=")[2] for w in words if w.startswith(f"{name}=")), None)
    return words[words.index(name) + 1] if name in words else joined


def _exported(commands: str, name: str) -> str | None:
    """The value that shell commands give to a variable, without its quotes."""
    for command in commands.replace("\n", ";").split(";"):
        words = command.strip().removeprefix("export ")
        if words.startswith(f"{name}="):
            return words.partition("=")[2].strip("'\"")
    return None


def _some(numbers: set[int]) -> str:
    ordered = sorted(numbers)
    return ", ".join(map(str, ordered[:8])) + (", ..." if len(ordered) > 8 else "")


RULES = (
    Rule(
        "tile-names",
        "device names fit ZE_FLAT_DEVICE_HIERARCHY",
        "tiles named GPU.TILE are right with COMPOSITE only, and the module frameworks sets FLAT: workers see no device",
        f"{ALCF}/aurora/data-science/frameworks/pytorch/",
        tile_names,
    ),
    Rule(
        "affinity-entries",
        "one list of cores for each worker and rank",
        "with fewer lists than workers, workers never start and the run waits for ever",
        "https://github.com/Parsl/parsl/issues/2072",
        affinity_entries,
    ),
    Rule(
        "reserved-cores",
        "no process on the system's cores",
        "processes on cores that the system keeps are slowed down or refused",
        f"{ALCF}/aurora/running-jobs-aurora/",
        reserved_cores,
    ),
    Rule(
        "numa-split",
        "no process over two NUMA domains",
        "a rank over two sockets reaches half of its memory and its device through the other socket",
        f"{ALCF}/aurora/running-jobs-aurora/",
        numa_split,
    ),
    Rule(
        "filesystems",
        "jobs name their filesystems",
        "qsub refuses a job that names none: 'Resource: filesystems is required to be set.'",
        f"{ALCF}/running-jobs/",
        filesystems,
    ),
    Rule(
        "foreign-paths",
        "no path of another machine",
        "Flare is not mounted on Polaris, nor Eagle on Aurora",
        f"{ALCF}/aurora/known-issues/",
        foreign_paths,
    ),
    Rule(
        "storage-root",
        "outputs on a project filesystem",
        "home has 50 GB, and jobs are to start from a project folder only",
        f"{ALCF}/aurora/running-jobs-aurora/",
        storage_root,
    ),
    Rule(
        "queue-limits",
        "jobs fit their queues",
        "a job outside its queue's limits is refused, or, on Polaris, may vanish without an error",
        f"{ALCF}/polaris/known-issues/",
        queue_limits,
    ),
    Rule(
        "queue-counts",
        "no more jobs than a queue takes of a user",
        "qsub refuses the second executor's job, whose tasks then all fail",
        f"{ALCF}/aurora/running-jobs-aurora/",
        queue_counts,
    ),
    Rule(
        "tmpdir",
        "TMPDIR is set and short",
        "workers die with 'AF_UNIX path too long'",
        f"{ALCF}/aurora/workflows/parsl/",
        short_tmpdir,
    ),
    Rule(
        "proxy",
        "compute nodes have their way out",
        "without the proxy downloads hang; without no_proxy a request to the node itself goes to the proxy",
        f"{ALCF}/aurora/getting-started-on-aurora/",
        proxy,
    ),
    Rule(
        "launcher",
        "stages with ranks of their own start once",
        "a launcher that starts a worker a node starts the whole of mpiexec on each of them",
        f"{ALCF}/aurora/workflows/parsl/",
        simple_launcher,
    ),
    Rule(
        "drain",
        "no task is started just before the walltime",
        "tasks that start near the end of a job are killed and done again",
        "https://parsl.readthedocs.io/en/stable/stubs/parsl.executors.HighThroughputExecutor.html",
        drain,
    ),
    Rule(
        "account",
        "jobs have an account",
        "qsub refuses a job without one: 'Account_Name is required to be set.'",
        f"{ALCF}/running-jobs/",
        account,
    ),
)
