"""Site files: what they refuse, and that the cluster sites build their executors under the Parsl that is installed."""

from pathlib import Path

import pytest

from stages.base import SettingsError
from workflows.site import Resource, Site, load_site


@pytest.mark.parametrize(("name", "accelerators"), [("aurora", 12), ("polaris", 4)])
def test_cluster_executors_build(monkeypatch, tmp_path, name: str, accelerators: int) -> None:
    """With an address to listen on, every executor that a size names is built, with the site's devices and job lines."""
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    monkeypatch.setattr("parsl.addresses.address_by_interface", lambda _: "127.0.0.1")
    site = load_site(name)
    config = site.parsl_config(tmp_path)
    executors = {e.label: e for e in config.executors}
    assert {r.executor for r in site.resources.values()} <= set(executors)
    devices = executors[site.resources["gpu"].executor]
    assert len(devices.available_accelerators) == accelerators
    assert devices.max_workers_per_node == accelerators
    provider = executors[site.resources["gpus"].executor].provider
    assert provider.nodes_per_block == site.resources["gpus"].nodes
    assert "#PBS -l filesystems=home:" in provider.scheduler_options
    assert "TMPDIR=/tmp" in provider.worker_init


def test_inside_a_job_nothing_is_submitted(monkeypatch, tmp_path) -> None:
    """In a PBS job the executors use the job's own nodes instead of asking for more."""
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    monkeypatch.setattr("parsl.addresses.address_by_interface", lambda _: "127.0.0.1")
    config = load_site("aurora").parsl_config(tmp_path)
    assert {type(e.provider).__name__ for e in config.executors} == {"LocalProvider"}


def test_aurora_names_tiles_as_its_modules_do() -> None:
    """With `frameworks` loaded the hierarchy is FLAT, and no rank is bound to a core that is the system's."""
    gpus = load_site("aurora").resources["gpus"]
    assert gpus.env["ZE_FLAT_DEVICE_HIERARCHY"] == "FLAT"
    bind = gpus.launch[gpus.launch.index("--cpu-bind") + 1]
    ranges = [r.split("-") for r in bind.removeprefix("list:").split(":")]
    cores = [c for low, high in ranges for c in range(int(low), int(high) + 1)]
    assert len(ranges) == gpus.ranks_per_node
    assert len(set(cores)) == len(cores)
    assert not {0, 52} & set(cores)


def test_a_site_must_offer_every_size(tmp_path) -> None:
    """A site that leaves a size out is refused by name, and so is a file that exports no site."""
    here = Resource(executor="local")
    with pytest.raises(ValueError, match="site x does not offer gpu, gpus, service"):
        Site(name="x", description="", root=tmp_path, resources={"cpu": here}, parsl_config=lambda _: None)
    (tmp_path / "none.py").write_text("")
    with pytest.raises(SettingsError, match="exports `site`"):
        load_site(str(tmp_path / "none.py"))


def test_command_is_launch_then_environment_then_container_then_python() -> None:
    """The parts of a command stand in the order in which they must take hold."""
    gpus = Resource(executor="n", nodes=2, ranks_per_node=3, launch=("mpiexec", "-n", "{ranks}"), env={"A": "1"})
    site = Site(
        name="x",
        description="",
        root=Path("r"),
        resources=dict.fromkeys(("cpu", "gpu", "gpus", "service"), gpus),
        parsl_config=lambda _: None,
        python="py",
        container=("apptainer", "exec", "{image}"),
        images=Path("i"),
    )
    plain = ["mpiexec", "-n", "6", "env", "A=1", "py", "-m", "stages.parse", "--out", "o"]
    assert site.command("parse", "gpus", ["--out", "o"], container=False) == plain
    boxed = site.command("parse", "gpus", [], container=True)
    assert boxed[5:] == ["apptainer", "exec", "i/parse-cpu.sif", "python3", "-m", "stages.parse"]
