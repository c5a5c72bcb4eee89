"""`parsl doctor`: what would go wrong on a site, found before the first job is submitted, on any machine.

The rules read the site file and the Parsl configuration that it really builds; nothing is submitted and nobody is asked.
"""

import socket
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stages.base import SettingsError
from workflows.doctor.rules import RULES, Rule, Subject
from workflows.site import Site

ELSEWHERE = "127.0.0.1"


class Finding(NamedTuple):
    """A rule that a site breaks, with what was found and what the rule expects."""

    rule: Rule
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.rule.trap}; found {self.found}, expected {self.expected} ({self.rule.source})"


def examine(site: Site) -> list[Finding]:
    """Every rule on a site; a site without a scheduler breaks none."""
    if site.cluster is None:
        return []
    here = {name for _, name in socket.if_nameindex()}
    if not site.cluster.address and site.cluster.interface not in here:
        site = site.asking(address=ELSEWHERE)  # not on the machine itself: its address is all that we cannot know
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = site.parsl_config(Path(folder))
        except Exception as error:  # whatever Parsl refuses is the finding
            raise SettingsError(f"site {site.name}: Parsl refuses its configuration: {error}") from error
        subject = Subject.of(site, config)
        return [Finding(rule, *words) for rule in RULES for words in rule.check(subject)]


def report(site: Site, console: Console) -> int:
    """Print a line a rule, then each finding in full; 2 if there are any."""
    findings = examine(site)
    broken = {f.rule.name for f in findings}
    for rule in RULES if site.cluster else ():
        mark = "[red]✗[/]" if rule.name in broken else "[green]✓[/]"
        console.print(f"{mark} {rule.name:<20}", end="")
        console.print(rule.asks, markup=False)
    for finding in findings:
        console.print(f"\n[bold]{finding.rule.name}[/]: ", end="")
        console.print(finding.rule.trap, markup=False)
        console.print(f"  found     {finding.found}\n  expected  {finding.expected}", markup=False)
        console.print(f"  source    {finding.rule.source}", markup=False)
    what = f"{len(broken)} of {len(RULES)} rules broken" if findings else f"{len(RULES)} rules hold"
    console.print(f"\n{site.name}: {what if site.cluster else 'no scheduler, nothing to check'}")
    return 2 if findings else 0
