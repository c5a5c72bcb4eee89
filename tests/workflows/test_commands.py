"""The `parsl` command as a person uses it: run, plan, status, stop, wrong words, faults, resume."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schemas.serving import Endpoint
from stages.base import PACKAGE_ROOT
from workflows.__main__ import main, output
from workflows.base import Node, load_recipe
from workflows.endpoints import curl
from workflows.launch import StageFailed, launch


def parsl(*arguments: str | Path, expect: int = 0) -> str:
    """Run the command; returns what it printed."""
    command = [sys.executable, "-m", "workflows", *map(str, arguments)]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def papers(root: Path) -> tuple[str, ...]:
    """Settings that point ingest at this test's folder."""
    return ("--set", f"ingest.paths={root.parent / 'papers'}")


def nodes(recipe: Path, root: Path, **stages: dict[str, object]) -> dict[str, Node]:
    """The graph that the command would build."""
    overrides = {"ingest": {"paths": str(recipe.parent / "papers")}, **stages}
    return {n.name: n for n in load_recipe(recipe, root, overrides).nodes}


def test_words_are_printed_as_they_were_typed(capsys) -> None:
    """What looks like a name of an emoji or like markup stays what it is, in errors and elsewhere."""
    with pytest.raises(SystemExit) as end:
        main(["run", "--on-failure", "node-lost=resubmit:-1:", "--set", "filter.min_words=:smiley:[bold]"])
    assert end.value.code == 2
    assert "--on-failure node-lost=resubmit:-1:" in capsys.readouterr().err
    output().print("7:-1: [b] :smiley:", markup=False)
    assert capsys.readouterr().out == "7:-1: [b] :smiley:\n"


def test_stub_run_and_rerun(recipe, root) -> None:
    """A stub run goes through the graph; the same command again does nothing and says so."""
    words = parsl("run", recipe, "--stub", *papers(root))
    assert "sketch_strict: done" in words
    assert "report" in words
    again = parsl("run", recipe, "--stub", *papers(root))
    assert "nothing to do: all 5 stages are done" in again


def test_stub_outputs_never_look_real(recipe, root) -> None:
    """Sample rows lie under a root of their own: the real run has still everything to do."""
    parsl("run", recipe, "--stub", *papers(root))
    assert "5 of 5 stages would run" in parsl("plan", recipe, *papers(root))


def test_sharded_run_redoes_the_lost_shard_alone(sharded, root) -> None:
    """After one shard's record is lost, the same command runs that shard and the commit, and leaves the others."""
    parsl("run", sharded, "--stub", "--until", "parse", *papers(root))
    parse = nodes(sharded, root / "stub")["parse"]
    times = {f.name: f.stat().st_mtime_ns for f in (parse.path / "done").iterdir()}
    (parse.path / "done" / "00001-of-00003.json").unlink()
    (parse.path / "manifest.json").unlink()
    assert "interrupted: 2 of 3 shards done" in parsl("plan", sharded, "--stub", "--only", "parse", *papers(root))
    words = parsl("run", sharded, "--stub", "--until", "parse", *papers(root))
    assert "parse 1/3: done" in words
    assert "parse 0/3" not in words
    now = {f.name: f.stat().st_mtime_ns for f in (parse.path / "done").iterdir()}
    assert {n for n in now if now[n] != times[n]} == {"00001-of-00003.json"}


def test_shards_from_the_command_line(recipe, sharded, root) -> None:
    """A number of shards wins over the recipe's, does not move the output, and a stage that is not there is named."""
    parsl("run", recipe, "--stub", "--until", "parse", "--shards", "parse=2", *papers(root))
    parse = nodes(recipe, root / "stub")["parse"]
    assert sorted(f.name for f in (parse.path / "done").iterdir()) == ["00000-of-00002.json", "00001-of-00002.json"]
    assert parse.done
    words = parsl("plan", sharded, "--shards", "parse=5", "--shards", "sketch=2", *papers(root))
    assert "shards   5, then --commit 5" in words
    assert words.count("shards   2, then --commit 2") == 2  # two nodes of that stage
    assert "prse: the recipe has no such stage; did you mean parse?" in parsl(
        "plan", recipe, "--shards", "prse=2", *papers(root), expect=2
    )


def test_moved_papers_are_found_again(recipe, root) -> None:
    """When the papers were moved, ingest alone runs again, so that its rows point at them; what follows stays done."""
    parsl("run", recipe, "--stub", *papers(root))
    (root.parent / "elsewhere").mkdir()
    (root.parent / "papers").rename(root.parent / "elsewhere" / "papers")
    moved = ("--set", f"ingest.paths={root.parent / 'elsewhere' / 'papers'}")
    assert "the files it reads lie elsewhere now" in parsl("plan", recipe, "--stub", *moved)
    words = parsl("run", recipe, "--stub", *moved)
    assert "ingest: done" in words
    assert "parse: done" not in words
    assert "nothing to do" in parsl("run", recipe, "--stub", *moved)


def test_plan_says_why(recipe, root) -> None:
    """The plan names the setting that changed, and the input through which later stages are touched."""
    parsl("run", recipe, "--stub", *papers(root))
    words = parsl("plan", recipe, "--stub", "--set", "filter.min_words=7", *papers(root))
    lines = {line.split()[0]: line for line in words.splitlines() if line.strip()}
    assert "done" in lines["parse"]
    assert "setting min_words" in lines["filter"]
    assert "-> 7" in lines["filter"]
    assert "input documents (from filter)" in lines["sketch"]


def test_plan_prints_commands_that_work_when_pasted(recipe, root) -> None:
    """The printed command of a stage, run by hand, does what the run would have done."""
    parsl("run", recipe, "--stub", "--until", "ingest", *papers(root))
    parse = nodes(recipe, root / "stub")["parse"]
    words = parsl("plan", recipe, "--stub", "--only", "parse", *papers(root))
    command = next(line.split("command", 1)[1].strip() for line in words.splitlines() if "stages.parse" in line)
    parse.path.mkdir(parents=True)
    (parse.path / "settings.json").write_text(json.dumps(parse.stage.model_dump(mode="json")))
    subprocess.run(["bash", "-c", command], cwd=PACKAGE_ROOT, check=True, capture_output=True)
    assert parse.done


def test_only_needs_its_inputs(recipe, root) -> None:
    """A stage alone without its inputs ends with 2 and says what to run."""
    words = parsl("run", recipe, "--stub", "--only", "filter", *papers(root), expect=2)
    assert "filter needs parse, which is not done" in words


def test_force_redoes_the_selected(recipe, root) -> None:
    """`--force --only` redoes one stage and leaves the others."""
    parsl("run", recipe, "--stub", *papers(root))
    graph = nodes(recipe, root / "stub")
    before = {n: (graph[n].path / "manifest.json").stat().st_mtime_ns for n in graph}
    parsl("run", recipe, "--stub", "--only", "parse", "--force", *papers(root))
    after = {n: (graph[n].path / "manifest.json").stat().st_mtime_ns for n in graph}
    assert {n for n in graph if after[n] != before[n]} == {"parse"}


def test_wrong_words_end_with_2_and_one_message(recipe, root) -> None:
    """Unknown settings, stages and types are all in one message, with the nearest right names."""
    wrong = ("--set", "sketch.num_band=3", "--set", "filtr.x=1", "--set", "filter.min_words=many")
    words = parsl("run", recipe, *wrong, expect=2)
    assert "did you mean sketch.num_bands?" in words
    assert "did you mean filter?" in words
    assert "filter.min_words" in words


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--site", "aurra"), "did you mean aurora?"),
        (("--only", "filtr"), "did you mean filter?"),
        (("--set", "nonsense"), "expected STAGE.FIELD=VALUE"),
        (("--settings", "missing.toml"), "no such file"),
        (("--set", "ingest.paths=/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_wrong_flags(recipe, root, arguments, hint) -> None:
    """A wrong site, stage, assignment, file or folder ends with 2 and a hint."""
    assert hint in parsl("run", recipe, *arguments, expect=2)


def test_a_recipe_that_does_not_fit_ends_with_3(tmp_path, root) -> None:
    """An edge between unlike contracts is refused before anything is submitted."""
    file = tmp_path / "bad.py"
    file.write_text(
        "from stages.ingest import Ingest\nfrom stages.filter import Filter\n"
        "def workflow(run):\n    run(Filter(), documents=run(Ingest())['sources'])\n"
    )
    words = parsl("run", file, *papers(root), expect=3)
    assert "filter input 'documents' must be Document@1, got SourceFile@2" in words
    assert not root.exists()


def test_cluster_site_needs_an_account_to_run_but_not_to_plan(root, monkeypatch) -> None:
    """Off-site and without an account `plan` prints queue, nodes, launch line and image; `run` says what to set."""
    monkeypatch.delenv("BOREALIS_ACCOUNT", raising=False)
    words = parsl("plan", "workflows/pretrain.py", "--site", "aurora", "--container", *papers(root))
    assert "pretrain: gpus, executor nodes, 2 node(s), 24 rank(s), queue debug-scaling" in words
    assert "mpiexec -n 24 -ppn 12 --cpu-bind list:1-8" in words
    assert "pretrain-xpu.sif" in words
    assert "BOREALIS_ACCOUNT" in words
    assert "BOREALIS_ACCOUNT" in parsl("run", "workflows/pretrain.py", "--site", "aurora", *papers(root), expect=2)


def test_status_before_and_after(recipe, root) -> None:
    """Status tells waiting from done."""
    assert "waiting" in parsl("status", recipe, "--stub", *papers(root))
    parsl("run", recipe, "--stub", *papers(root))
    words = parsl("status", recipe, "--stub", *papers(root))
    assert "waiting" not in words
    assert "3 documents" in words


def test_stop_with_nothing_to_stop(root) -> None:
    """`parsl stop` on an empty root is no error."""
    assert "no server is running" in parsl("stop")


def test_stages_lists_contracts_and_settings() -> None:
    """`parsl stages` shows each stage's tables and every setting."""
    words = parsl("stages")
    assert "sketch.ngram_words = 5" in words
    assert "reads   documents: Document@1" in words


def test_a_failing_stage_is_named_with_its_log(recipe, root) -> None:
    """A stage that fails ends the run with its code, names log and cause, and what follows is not run."""
    parsl("run", recipe, "--until", "ingest", *papers(root))
    ingest = nodes(recipe, root)["ingest"]
    part = next((ingest.path / "sources").iterdir())
    part.write_bytes(part.read_bytes()[:50])
    words = parsl("run", recipe, *papers(root), expect=3)
    assert "parse failed (exit 3): contract" in words
    assert "found 50 bytes" in words
    assert "make it again: parsl run --only ingest --force" in words
    assert "log/run.txt" in words
    assert "contract: " in parsl("status", recipe, *papers(root))
    assert not nodes(recipe, root)["filter"].done


def test_launch_raises_with_the_tail(tmp_path) -> None:
    """A process that ends with an error raises its name, a shell's code and its last line; a kill is 137."""
    with pytest.raises(StageFailed) as failed:
        launch("parse", ["sh", "-c", "echo first; echo last >&2; exit 3"], str(tmp_path / "l" / "log"), str(tmp_path))
    assert (failed.value.code, str(failed.value)) == (3, "parse failed (exit 3): last")
    with pytest.raises(StageFailed) as killed:
        launch("parse", ["sh", "-c", "kill -9 $$"], str(tmp_path / "log"), str(tmp_path))
    assert killed.value.code == 137
    assert launch("parse", ["true"], str(tmp_path / "log"), str(tmp_path)) == 0


def test_a_stage_has_no_rank_of_its_workers(tmp_path, monkeypatch) -> None:
    """The rank under which a launcher started a worker does not reach the stage: it would write nothing but on rank 0."""
    monkeypatch.setenv("PALS_RANKID", "1")
    monkeypatch.setenv("SLURM_PROCID", "1")
    launch("parse", ["sh", "-c", "echo rank ${PALS_RANKID-none} ${SLURM_PROCID-none}"], str(tmp_path / "log"), "/")
    assert (tmp_path / "log").read_text() == "rank none none\n"


def test_curl_line_is_quoted() -> None:
    """The printed line is one shell command whatever the prompt holds, and its body is JSON."""
    endpoint = Endpoint(
        url="http://127.0.0.1:1/v1",
        model="m",
        host="h",
        pid=1,
        process_started=0.0,
        prompt="a'b\"; rm -rf $HOME",
        answer="",
    )
    words = shlex.split(curl(endpoint))
    assert words[0] == "curl"
    assert json.loads(words[-1])["messages"][0]["content"] == endpoint.prompt


def test_killed_stage_is_tried_again(recipe, root) -> None:
    """A stage killed by SIGKILL is started again by the run, which ends well."""
    command = [sys.executable, "-m", "workflows", "run", str(recipe), "--stub", *papers(root)]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killed = _kill_first("stages.ingest", process.pid)
    words, _ = process.communicate(timeout=120)
    assert killed
    assert process.returncode == 0, words
    assert nodes(recipe, root / "stub")["ingest"].done


def _kill_first(module: str, parent: int) -> bool:
    """SIGKILL the first child process of `parent` that runs `module`."""
    for _ in range(2000):
        for stat in Path("/proc").glob("[0-9]*"):
            try:
                line = (stat / "cmdline").read_bytes().split(b"\0")
                ours = (stat / "stat").read_text().rsplit(")", 1)[1].split()[1] == str(parent)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if ours and module.encode() in line:
                os.kill(int(stat.name), 9)
                return True
        time.sleep(0.005)
    return False
