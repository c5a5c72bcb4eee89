"""The same stage on the same rows gives the same bytes in this environment, under bubblewrap and in its image.

Takes the images that `make image` has built, in `containers/images`; each that is missing is skipped by name.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from containers import apptainer, image
from containers.__main__ import stages
from containers.apptainer import Bind
from containers.context import FOLDER
from containers.fixture import build_fixture, digest
from stages.base import PACKAGE_ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("apptainer") is None, reason="no apptainer here: run containers/install-apptainer.sh as root"
    ),
]
STAGES = ("ingest", "parse", "dedup", "tokenize", "pretrain")
THREADS = {"BOREALIS_WORKERS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SEARCHED_BYTES = 1 << 20  # of an image, for where its file system begins


def built(name: str) -> Path:
    """The stage's image; the test is skipped where it has not been built."""
    file = FOLDER / "images" / f"{name}-cpu.sif"
    if not file.is_file():
        pytest.skip(f"no image of {name} here: make image STAGE={name}")
    return file


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """One folder for all the runs of a module: paths in rows are then the same everywhere."""
    return tmp_path_factory.mktemp("parity")


def command(name: str, fixture: Path, out: Path, python: str = "python3") -> list[str]:
    """The stage on its fixture."""
    told = json.loads((fixture / "fixture.json").read_text())
    inputs = [word for key, path in told["inputs"].items() for word in (f"--{key}", str(fixture / path))]
    settings = str(fixture / "settings.json")
    return [python, "-P", "-m", f"stages.{name}", "--config", settings, "--out", str(out), *inputs]


def run(words: Sequence[str], cwd: Path, **more: str) -> None:
    """Run a command in a folder; its words are the assertion's where it fails."""
    environment = {**os.environ, **THREADS, **more}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", STAGES)
def test_bytes_are_the_same_everywhere(name: str, work: Path) -> None:
    """Every Parquet file of the stage is the same in the venv, under bubblewrap and under Apptainer: to the byte, but for speeds."""
    sif = built(name)
    fixture, out = work / name / "fixture", work / name / "out"
    build_fixture(stages([name])[0], image.BUILD / "fixture", fixture)
    runtime = image.runtime()._replace(binds=(Bind(work),), pwd=fixture)
    run(command(name, fixture, out, sys.executable), fixture, PYTHONPATH=str(PACKAGE_ROOT))
    expected = taken(out)
    assert expected
    run(apptainer.execute(sif, command(name, fixture, out), runtime), fixture)
    assert taken(out) == expected
    if missing := [p for p in ("bwrap", "squashfuse") if shutil.which(p) is None]:
        pytest.skip(f"equal in the venv and under Apptainer; no {missing[0]} here to compare with")
    with mounted(sif, work / name / "root") as root:
        run([*box(root, work, fixture), *command(name, fixture, out, "/opt/borealis/venv/bin/python")], fixture)
    assert taken(out) == expected


def taken(out: Path) -> dict[str, str]:
    """Digests of an output's Parquet files; the output is removed."""
    found = digest(out)
    shutil.rmtree(out)
    return found


def box(root: Path, work: Path, cwd: Path) -> list[str]:
    """Bubblewrap round a root that is only read, with no network and one folder of the host's."""
    words = ["bwrap", "--ro-bind", str(root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108
    words += ["--bind", str(work), str(work), "--unshare-net", "--chdir", str(cwd), "--setenv", "PYTHONNOUSERSITE", "1"]
    return [*words, "--setenv", "NUMBA_CACHE_DIR", "/tmp/numba"]  # noqa: S108 - the box's own


@contextlib.contextmanager
def mounted(sif: Path, target: Path) -> Iterator[Path]:
    """The image's file system as a folder: it begins at a page of the file, with squashfs's own mark."""
    data = sif.read_bytes()[:SEARCHED_BYTES]
    offset = next(o for o in range(0, SEARCHED_BYTES, 4096) if data[o : o + 4] == b"hsqs")
    target.mkdir(parents=True)
    subprocess.run(["squashfuse", "-o", f"offset={offset}", str(sif), str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["fusermount", "-u", str(target)], check=True)


@pytest.mark.parametrize("name", STAGES)
def test_image_says_what_it_is(name: str) -> None:
    """Labels name the stage, its contracts, a commit, and digests of the lock and of all it was made from."""
    found = image.labels(built(name))
    stage = stages([name])[0]
    assert found["stage"] == name
    assert set(found["contracts"].split(":")) == {
        r.contract() for r in (*stage.inputs.values(), *stage.outputs.values())
    }
    assert all(len(found[key]) == 64 for key in ("lock", "identity"))
    assert len(found["commit"]) >= 40


@pytest.mark.parametrize("name", STAGES)
def test_image_passes_its_own_test(name: str) -> None:
    """The image's `%test` runs the stage on its ten rows."""
    run(apptainer.run_test(built(name), image.runtime()), Path("/"))


def test_words_stay_words() -> None:
    """What a program in an image is given, it gets word by word: nothing is split, expanded or run."""
    words = ["a b", "$(id)", "`id`", "a;b", "a\nb", "*", "'", '"', "$HOME", "{{ x }}", "-x", ""]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command_ = apptainer.execute(built("ingest"), ["python3", "-c", code, *words], image.runtime())
    done = subprocess.run(command_, capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout) == words


def test_image_holds_one_stage() -> None:
    """In the image of ingest there is no other stage, no Parsl, no pip, and nothing of this user's own packages."""
    code = (
        "import importlib.util as u, stages; from pathlib import Path; "
        "print(sorted(p.parent.name for p in Path(stages.__file__).parent.glob('*/__main__.py'))); "
        "print([n for n in ('parsl', 'workflows', 'torch', 'pip', 'numpy') if u.find_spec(n)])"
    )
    words = apptainer.execute(built("ingest"), ["python3", "-c", code], image.runtime())
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=PACKAGE_ROOT)
    assert done.stdout.splitlines() == ["['ingest']", "[]"]


@pytest.mark.parametrize("name", STAGES)
def test_what_an_exec_adds(name: str, capsys) -> None:
    """Prints how long a program takes to start in an image; the figure is for the docs, no bound is tested."""
    sif = built(name)
    words = apptainer.execute(sif, ["true"], image.runtime())
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, cwd="/")
        seconds.append(time.perf_counter() - began)
    with capsys.disabled():
        print(
            f"\n{name}: apptainer exec adds {statistics.median(seconds):.2f} s (median of 5; load {os.getloadavg()[0]:.1f})"
        )
