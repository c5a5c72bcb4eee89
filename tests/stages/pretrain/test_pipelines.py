import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.pretrain import Pretrain
from tests.stages.model import ranks
from tests.stages.model.token_files import TokenTables
from tests.stages.pretrain.conftest import Start, command_line, exit_code
from tests.stages.pretrain.launch import rows

DEEP = {"depth": 2, "mask_documents": True, "monitor_every": 4, "z_loss": 1e-4}


def started(arguments: list[str]) -> int:
    """Run the stage in this process, which is one rank of several."""
    return exit_code(Pretrain, arguments)


@pytest.mark.slow
def test_a_run_goes_on_over_a_pipeline(tokens: TokenTables, pretrain: Start, tmp_path: Path) -> None:
    """From two thirds of one process's run to the end on two stages: its losses, validation, tensors and export."""
    for out in ("one", "two"):
        assert pretrain(tmp_path / out, **DEEP) == 0
    shutil.rmtree(tmp_path / "two" / "states" / "step-000012")
    (tmp_path / "two" / "manifest.json").unlink()
    settings: dict[str, Any] = {**DEEP, "pipeline_parallel": 2}
    assert ranks.run_apart(2, started, command_line(tokens, tmp_path / "two", settings)) == [0, 0]
    one, two = (rows(tmp_path / out, "steps", "tokens_per_second") for out in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-5)
    assert [r["gradient_norm"] for r in two] == pytest.approx([r["gradient_norm"] for r in one], rel=1e-4)
    one, two = (rows(tmp_path / out, "validation") for out in ("one", "two"))
    assert [r["value"] for r in two] == pytest.approx([r["value"] for r in one], rel=1e-5)
    one, two = (rows(tmp_path / out, "tensors") for out in ("one", "two"))
    assert {(r["step"], r["tensor"]) for r in two} == {(r["step"], r["tensor"]) for r in one}
    last = {r["tensor"]: r["largest"] for r in one if r["step"] == 12}
    assert last == pytest.approx({r["tensor"]: r["largest"] for r in two if r["step"] == 12}, rel=1e-4)
    model = "huggingface/model.safetensors"
    assert (tmp_path / "two" / model).stat().st_size == (tmp_path / "one" / model).stat().st_size
