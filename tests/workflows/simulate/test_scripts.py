"""The submit scripts of both machines, byte for byte, as the site's own executors write them and qsub takes them."""

import re
from pathlib import Path
from typing import Any

import pytest

from workflows.simulate.rehearsal import Rehearsal
from workflows.site import load_site

GOLDEN = Path(__file__).parent / "golden"
CASES = [(site, executor) for site in ("aurora", "polaris") for executor in ("cpu", "gpu", "nodes")]


def script(name: str, label: str, folder: Path) -> str:
    """What one executor of a site submits, with nothing overridden but the address at which it listens."""
    site = load_site(name).asking(address="10.0.0.1")
    executor: Any = next(e for e in site.parsl_config(folder).executors if e.label == label)
    executor.run_dir, executor.worker_port, executor.logconf_path = str(folder), 54000, "LOGGING"
    executor.initialize_scaling()
    executor.provider.script_dir = str(folder)
    with Rehearsal.of(site).running():
        executor.provider.submit(executor._get_launch_command("0"), 1, f"parsl.{label}.block-0")
    written = next(f for f in folder.iterdir() if re.fullmatch(rf"parsl\.{label}\.block-0\.[0-9.]+", f.name))
    text = written.read_text().replace(written.name, f"parsl.{label}.block-0.TIME").replace(str(folder), "RUN")
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


@pytest.mark.parametrize(("name", "label"), CASES)
def test_scripts_are_the_golden_ones(monkeypatch, tmp_path, name: str, label: str) -> None:
    """Each executor's script is accepted by the machine's qsub and equals the golden one; one that is deleted is written anew."""
    for variable in ("NODES", "QUEUE", "WALLTIME", "ROOT"):
        monkeypatch.delenv(f"BOREALIS_{variable}", raising=False)
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    monkeypatch.setenv("BOREALIS_ACCOUNT", "MyProject")
    found = script(name, label, tmp_path)
    file = GOLDEN / f"{name}-{label}.sh"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(found)
        pytest.fail(f"{file} was missing and has been written: read it, then run again")
    assert found == file.read_text()
