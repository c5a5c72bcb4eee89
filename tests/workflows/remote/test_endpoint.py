"""The endpoint's template and schema: what may be set, and that no text leaves its place; then the real engines."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT
from workflows.remote import channel
from workflows.remote.request import Logs, payload

FOLDER = PACKAGE_ROOT / "workflows" / "remote" / "endpoint"
TEMPLATE, SCHEMA = FOLDER / "user_config_template.yaml.j2", FOLDER / "user_config_schema.json"
TOOL = os.environ.get("GLOBUS_COMPUTE_ENDPOINT") or shutil.which("globus-compute-endpoint")
LIVE = "BOREALIS_LIVE_ENDPOINT"
JOB = {"place": "job", "machine": "polaris", "account": "Proj_1-x", "queue": "debug", "walltime": "01:00:00"}
INJECTIONS = [
    "a; rm -rf /",
    "a$(id)",
    "a`id`",
    "a\nqueue: other",
    "a\n",
    'a" b: "c',
    "a' b",
    "{{ parent_config }}",
    "{% include '/etc/passwd' %}",
    "a|b",
    "a b",
    "-q",
    "é",
    "",
]
needs_tool = pytest.mark.skipif(
    not TOOL,
    reason="no globus-compute-endpoint: its click is not this project's, so install '.[endpoint]' in an environment of "
    "its own and name its program in GLOBUS_COMPUTE_ENDPOINT",
)


def render(tmp_path: Path, options: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Render the template by Globus Compute's own command."""
    file = tmp_path / "options.json"
    file.write_text(json.dumps(options))
    command = [str(TOOL), "render-user-config", "-t", str(TEMPLATE), "-s", str(SCHEMA), "-o", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["account", "queue", "walltime"])
def test_patterns_let_no_injection_through(name: str) -> None:
    """Every text that a user may set has a pattern, and none of the injections matches it; a right value does."""
    pattern = json.loads(SCHEMA.read_text())["properties"][name]["pattern"]
    assert [word for word in INJECTIONS if word != "-q" and re.search(pattern, word)] == []
    assert re.search(pattern, JOB[name])


def test_unknown_keys_are_refused_by_the_schema() -> None:
    """The schema closes the door: no further keys, and each key is a pattern, a choice or a bounded number."""
    schema = json.loads(SCHEMA.read_text())
    assert schema["additionalProperties"] is False
    assert all({"pattern", "enum", "maximum"} & set(p) for p in schema["properties"].values())
    names = set(re.findall(r"\{\{\s*(\w+)", TEMPLATE.read_text())) | {"place", "machine"}
    assert names == set(schema["properties"])


@needs_tool
@pytest.mark.parametrize("name", ["account", "queue", "walltime", "place", "machine", "nodes"])
def test_injections_are_refused_by_the_real_command(tmp_path, name: str) -> None:
    """The real command refuses a key that there is not and, for each key, a text that would reach a shell."""
    for word in ("a; rm -rf /", "a\n"):
        done = render(tmp_path, {**JOB, name: word})
        assert done.returncode != 0, word
        assert "ValidationError" in done.stdout + done.stderr
    done = render(tmp_path, {**JOB, f"{name}_x": "1"})
    assert done.returncode != 0


@needs_tool
def test_both_places_render(tmp_path) -> None:
    """On a login node there is a pool of threads; in a job the account stands where it should, as one word."""
    login = render(tmp_path, {"place": "login", "machine": "aurora"})
    assert login.returncode == 0, login.stderr
    assert "type: ThreadPoolEngine" in login.stdout
    assert "PBSPro" not in login.stdout
    job = render(tmp_path, {**JOB, "nodes": 2})
    assert job.returncode == 0, job.stderr
    for line in (
        'account: "Proj_1-x"',
        "ifname: bond0",
        'select_options: "ngpus=4"',
        "home:eagle",
        "nodes_per_block: 2",
    ):
        assert line in job.stdout
    for options in ({**JOB, "place": "login"}, {k: v for k, v in JOB.items() if k != "account"}):
        assert render(tmp_path, options).returncode != 0


@needs_tool
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ThreadPoolEngine", "GlobusComputeEngine"])
def test_the_real_engines_run_the_function(tmp_path, engine: str) -> None:
    """Without a cloud, the endpoint's own engine unpacks the task, runs the source, and packs the answer as JSON."""
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/usr/bin/env python3\nimport json, sys\nprint(json.dumps({'got': json.load(sys.stdin)}))\n")
    python.chmod(0o755)
    request = payload(Logs(run="20261122-0123456789ab", project=str(python.parents[2])))
    told = {"engine": engine, "folder": str(tmp_path), "code": channel.PACKED + channel.source(), "request": request}
    worker = Path(__file__).with_name("engine.py")
    interpreter = Path(str(TOOL)).with_name("python")
    done = subprocess.run(
        [str(interpreter), str(worker)],
        input=json.dumps(told),
        env={**os.environ, "PATH": f"{interpreter.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"got": request}


@pytest.mark.skipif(LIVE not in os.environ, reason=f"live: set {LIVE} and BOREALIS_LIVE_PROJECT to a real endpoint")
def test_a_live_endpoint_answers() -> None:
    """A real endpoint reaches the checkout there: it knows no run of this name, and says so."""
    from stages.base import SettingsError

    project = os.environ["BOREALIS_LIVE_PROJECT"]
    with pytest.raises(SettingsError, match="no run 20261122-0123456789ab"):
        channel.channel(os.environ[LIVE]).call(Logs(run="20261122-0123456789ab", project=project))
