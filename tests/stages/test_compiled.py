"""Compiled functions work wherever the code lies, are kept where they can be, and are loaded only by what works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT

BLEND = (
    "import numpy as np; from stages.stream import blend\n"
    "print(blend.blend(np.array([0.5, 0.25, 0.25]), 6).dataset_index.tolist())\n"
    "print(sum(blend._fill.stats.cache_hits.values()), sum(blend._fill.stats.cache_misses.values()))"
)


def python(code: str, **environment: str) -> list[str]:
    """Run code in a process of its own; the lines that it prints."""
    command = [sys.executable, "-c", code]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")}
    done = subprocess.run(
        command, cwd=PACKAGE_ROOT, env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    """What one process compiled the next one loads, from the folder that the environment names."""
    assert python(BLEND, NUMBA_CACHE_DIR=str(tmp_path)) == ["[0, 1, 2, 0, 0, 1]", "0 1"]
    assert python(BLEND, NUMBA_CACHE_DIR=str(tmp_path)) == ["[0, 1, 2, 0, 0, 1]", "1 0"]


def test_no_folder_to_keep_it_in() -> None:
    """Where nothing can be kept (a read-only image, a user without a home), functions are compiled in each process."""
    for _ in range(2):
        assert python(BLEND, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator") == ["[0, 1, 2, 0, 0, 1]", "0 1"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A cache folder that is none does not stop the work."""
    (tmp_path / "file").write_text("")
    assert python(BLEND, NUMBA_CACHE_DIR=str(tmp_path / "file"))[0] == "[0, 1, 2, 0, 0, 1]"


@pytest.mark.parametrize(
    "module", ["stages.index", "stages.stream.megatron_order", "stages.stream.opening", "stages.stream.merge"]
)
def test_reading_loads_no_compiler(module: str) -> None:
    """Declarations, and what reads a stored order, start without numba."""
    assert python(f"import sys, {module}; print('numba' in sys.modules)") == ["False"]
