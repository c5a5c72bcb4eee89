"""What is done about each class of failure, and the user's word on it: `--on-failure CLASS=ACTION[:LIMIT]`.

The limit counts attempts in a row that get no further than those before; with it reached, the task is given up. An attempt
gets further if its stage reports more done than any earlier attempt did. The limit of `quarantine` counts the rows left out.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from stages.base import SettingsError
from workflows.base import nearest
from workflows.failures.record import Kind

Action = Literal["resubmit", "halve", "quarantine", "stop"]


class Policy(NamedTuple):
    """An action, and after how many attempts without progress it ends."""

    action: Action
    limit: int = 2

    def __str__(self) -> str:
        return self.action if self.action == "stop" else f"{self.action}:{self.limit}"


Policies = Mapping[Kind, Policy]

POLICIES: Policies = {
    "node-lost": Policy("resubmit"),
    "out-of-memory": Policy("halve", 4),
    "walltime": Policy("resubmit"),
    "bad-row": Policy("quarantine", 10),
    "contract": Policy("stop"),
    "code": Policy("stop"),
    "transient-io": Policy("resubmit", 4),
    "disk-full": Policy("stop"),
    "settings": Policy("stop"),
}
CHOICES: Mapping[Kind, tuple[Action, ...]] = {
    "node-lost": ("resubmit", "stop"),
    "out-of-memory": ("halve", "resubmit", "stop"),
    "walltime": ("resubmit", "stop"),
    "bad-row": ("quarantine", "stop"),
    "contract": ("stop",),
    "code": ("stop",),
    "transient-io": ("resubmit", "stop"),
    "disk-full": ("resubmit", "stop"),
    "settings": ("stop",),
}


def read_policies(assignments: Sequence[str]) -> dict[Kind, Policy]:
    """All classes' policies, with the user's laid over; `SettingsError` lists all that cannot be read."""
    found, problems = dict(POLICIES), []
    for text in assignments:
        name, _, words = text.partition("=")
        action, _, limit = words.partition(":")
        kind = next((k for k in get_args(Kind) if k == name), None)
        if kind is None:
            problems.append(f"--on-failure {text}: {nearest(name, get_args(Kind), 'classes')}")
        elif action not in CHOICES[kind]:
            problems.append(f"--on-failure {text}: {kind} allows {', '.join(CHOICES[kind])}, found {action!r}")
        elif limit and not (limit.isdecimal() and int(limit) > 0):
            problems.append(f"--on-failure {text}: expected CLASS=ACTION:LIMIT, with LIMIT from 1")
        else:
            chosen: Action = next(a for a in get_args(Action) if a == action)
            found[kind] = Policy(chosen, int(limit) if limit else POLICIES[kind].limit)
    if problems:
        raise SettingsError("\n".join(problems))
    return found
