import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from schemas.table import ContractError
from stages.model.checkpoint import MARKER, STATE, Checkpoints, load_state, load_tables

RUN = {"rope": "rotate-half", "norm_eps": 1e-5, "seed": 0}


def state(step: int) -> dict[str, torch.Tensor]:
    """Tensors that say which step they are of."""
    return {"weights/a": torch.full((3, 2), float(step)), "random": torch.arange(5, dtype=torch.uint8)}


def saved(folder: Path, *steps: int, keep: int = 2) -> Checkpoints:
    """Checkpoints of these steps."""
    checkpoints = Checkpoints(folder, RUN, keep)
    for step in steps:
        checkpoints.save(step, step * 10, state(step), {"steps": pa.table({"step": range(1, step + 1)})})
    return checkpoints


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Tensors keep their bits and types, tables their rows, the marker its numbers."""
    checkpoints = saved(tmp_path / "c", 3)
    found = checkpoints.newest()
    assert found is not None
    folder, marker = found
    assert (folder.name, marker.step, marker.num_tokens, marker.run) == ("step-000003", 3, 30, RUN)
    loaded = load_state(folder)
    assert loaded.keys() == state(3).keys()
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in state(3).items())
    assert load_tables(folder, ["steps"])["steps"]["step"].to_pylist() == [1, 2, 3]


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    """A run that has no checkpoint starts from the start."""
    assert Checkpoints(tmp_path / "none", RUN, 2).newest() is None
    assert Checkpoints(tmp_path / "none", RUN, 2).complete() == []


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """After each save the last `keep` checkpoints are there, oldest first, and nothing else."""
    checkpoints = saved(tmp_path, 1, 2, 3, 4, keep=2)
    assert [m.step for _, m in checkpoints.complete()] == [3, 4]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["step-000003", "step-000004"]


def test_steps_sort_by_number(tmp_path: Path) -> None:
    """A step of more than six digits is newer than one of six."""
    checkpoints = saved(tmp_path, 999_999, keep=3)
    (tmp_path / "step-999999").rename(tmp_path / "step-1000000")
    checkpoints = saved(tmp_path, 999_998, keep=3)
    assert [f.name for f, _ in checkpoints.complete()] == ["step-999998", "step-1000000"]


def test_a_save_that_was_killed_does_not_count(tmp_path: Path) -> None:
    """A temporary folder or one without its marker is never resumed from, and is removed."""
    checkpoints = saved(tmp_path, 1, 2, 3, keep=3)
    (tmp_path / "step-000003" / MARKER).unlink()
    (tmp_path / "step-000002").rename(tmp_path / ".step-000002.tmp")
    found = checkpoints.newest()
    assert found is not None
    assert found[1].step == 1
    checkpoints.tidy()
    assert [f.name for f in tmp_path.iterdir()] == ["step-000001"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "marker"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file cut short, with one bit turned, gone, or a half-written marker: the older checkpoint is used."""
    checkpoints = saved(tmp_path, 1, 2)
    tensors, marker = tmp_path / "step-000002" / STATE, tmp_path / "step-000002" / MARKER
    content = bytearray(tensors.read_bytes())
    if damage == "truncate":
        os.truncate(tensors, len(content) - 1)
    elif damage == "flip":
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif damage == "remove":
        tensors.unlink()
    else:
        marker.write_text(marker.read_text()[:40])
    found = checkpoints.newest()
    assert found is not None
    assert found[1].step == 1
    assert [m.step for _, m in checkpoints.complete()] == [1]
    assert ("damaged" in capsys.readouterr().out) == (damage == "flip")


def test_another_run_is_refused(tmp_path: Path) -> None:
    """Weights trained under other conventions are not gone on with: every difference is named, and the cure."""
    saved(tmp_path, 1)
    other = Checkpoints(tmp_path, {"rope": "interleaved", "norm_eps": 1e-5, "seed": 1}, 2)
    with pytest.raises(ContractError) as error:
        other.newest()
    words = str(error.value)
    assert "rope: the checkpoint has 'rotate-half', this run 'interleaved'" in words
    assert "seed: the checkpoint has 0, this run 1" in words
    assert "norm_eps" not in words
    assert "another --out" in words


def test_a_checkpoint_without_a_convention_is_refused(tmp_path: Path) -> None:
    """A convention that the checkpoint does not state is a difference, too."""
    saved(tmp_path, 1)
    with pytest.raises(ContractError, match="rope_theta: the checkpoint has None"):
        Checkpoints(tmp_path, {**RUN, "rope_theta": 10_000.0}, 2).newest()


def test_saving_again_replaces(tmp_path: Path) -> None:
    """A step that is saved twice has one complete folder, the later one."""
    checkpoints = saved(tmp_path, 5)
    checkpoints.save(5, 51, state(5), {})
    assert [m.num_tokens for _, m in checkpoints.complete()] == [51]
    assert json.loads((tmp_path / "step-000005" / MARKER).read_text())["num_tokens"] == 51
