"""A stage is a frozen value: its fields are its settings, its class attributes its contract, `run` its work.

`stages.command` is the other half: the command line that every stage shares.
"""

import difflib
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from schemas.manifest import fingerprint
from schemas.table import Row
from stages.tables import Outputs, Reader

Size = Literal["cpu", "gpu", "gpus", "service"]
Strings = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


def absolute(path: str) -> str:
    """A path from the working directory of whoever sets it: a stage is started in another one. "" stays."""
    return os.path.abspath(os.path.expanduser(path)) if path else path  # noqa: PTH100, PTH111 - no link is resolved


Place = Annotated[str, AfterValidator(absolute)]
Places = Annotated[tuple[Place, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]
FolderOrPackage = Annotated[
    str, AfterValidator(lambda n: n if n.isidentifier() and not Path(n).is_dir() else absolute(n))
]

PACKAGE_ROOT = Path(__file__).parent.parent
HALVINGS = "BOREALIS_HALVINGS"  # how often this task has run out of memory: it shall take half as much each time
RANK_VARIABLES = ("RANK", "PALS_RANKID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


class SettingsError(Exception):
    """What the user set cannot be. The message lists every problem."""


class Stage(BaseModel):
    """A step of the life cycle. Subclasses declare a contract (class attributes), settings (fields) and `run`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    inputs: ClassVar[Mapping[str, type[Row]]] = {}
    outputs: ClassVar[Mapping[str, type[Row]]] = {}
    resources: ClassVar[Size] = "cpu"
    packages: ClassVar[tuple[str, ...]] = ()  # import names that `run` needs beyond the base install
    shares: ClassVar[tuple[str, ...]] = ()  # folders of `stages` whose code it works with: "model", "stream"
    located: ClassVar[frozenset[str]] = frozenset()  # settings that do not change the rows: no part of the fingerprint
    optional: ClassVar[frozenset[str]] = frozenset()  # inputs that it can do without
    whole: ClassVar[frozenset[str]] = frozenset()  # inputs that every shard reads whole; the others are divided
    undivided: ClassVar[str] = ""  # why it works as one shard only; "" if it may be divided
    halves: ClassVar[str] = "workers"  # what it takes half of where memory has run out; "" if that is nothing
    conserves: ClassVar[tuple[str, str] | None] = None  # (input, output): rows in = rows out + dropped, checked

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:  # noqa: ARG002 - the interface
        """Do the work of one shard: read `inputs`, write `outputs`, `outputs.drop` what goes no further."""
        raise TypeError(f"{type(self).__name__} does not say how it runs")

    def external(self) -> str:
        """A digest of what the stage reads that is not a table (a folder of papers, say); part of the fingerprint."""
        return ""

    def settings(self) -> dict[str, Any]:
        """The settings that make the output what it is."""
        return self.model_dump(mode="json", exclude=set(self.located))

    def fingerprint(self, inputs: Mapping[str, str]) -> str:
        """The address of this stage's output, given its inputs' fingerprints."""
        return fingerprint(self.name, self.version, self.settings(), inputs, self.external())

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> Self:
        """Settings from outside; `SettingsError` lists all that is wrong with them."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise SettingsError("\n".join(setting_problems(cls, error))) from None


def setting_problems(stage: type[Stage], error: ValidationError) -> list[str]:
    """One line a problem, in our words, with the nearest right name for an unknown setting."""
    problems = []
    for e in error.errors():
        where = f"{stage.name}.{'.'.join(map(str, e['loc']))}"
        if not e["loc"]:  # of the settings together: a validator's own words
            problems += [f"{stage.name}: {line}" for line in e["msg"].removeprefix("Value error, ").split("\n")]
        elif e["type"] == "extra_forbidden" and e["loc"][1:]:
            problems.append(f"{where}: no such setting")
        elif e["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(e["loc"][-1]), stage.model_fields, n=1)
            hint = f"did you mean {stage.name}.{near[0]}?" if near else f"settings: {', '.join(stage.model_fields)}"
            problems.append(f"{where}: no such setting; {hint}")
        else:
            problems.append(f"{where}: {e['msg'].removeprefix('Value error, ')}, found {e['input']!r}")
    return problems


def rank() -> int:
    """The rank of this process, from whichever launcher started it; 0 if none did."""
    return next((int(os.environ[v]) for v in RANK_VARIABLES if v in os.environ), 0)


def num_cores() -> int:
    """Cores that a stage may use on its node: set by the site, else those of this machine."""
    return int(os.environ.get("BOREALIS_WORKERS", "0")) or len(os.sched_getaffinity(0))


def num_workers() -> int:
    """Processes or threads that a stage may have at work on its node: as many as cores, unless memory ran out with them."""
    return halved(num_cores())


def halved(count: int) -> int:
    """A number of things in memory at a time that does not change the output, halved once for each time memory ran out."""
    return max(1, count >> int(os.environ.get(HALVINGS, "0")))


def code_sha256(stage: type[Stage]) -> str:
    """A digest of the stage's own code, of what it shares and of the contracts, to say whether it changed since a run."""
    spec = importlib.util.find_spec(stage.__module__)
    folders = [PACKAGE_ROOT / "schemas", *([Path(spec.origin).parent] if spec and spec.origin else [])]
    folders += [PACKAGE_ROOT / "stages" / shared for shared in stage.shares]
    files = sorted(f for folder in folders for f in folder.rglob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
