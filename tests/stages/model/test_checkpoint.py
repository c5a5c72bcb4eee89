import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from schemas.table import ContractError
from stages.model import checkpoint
from stages.model.checkpoint import INDEX, MARKER, Checkpoints, Keep, load, load_tables
from stages.model.distributed import World
from stages.model.lease import OWNER, Lease, LeaseLost, room_of
from stages.model.parallelize import Layout, Parallelism
from stages.model.pieces import Box, Cut, Piece
from stages.model.staging import Staging

TWO = Keep(2)
RUN = {"rope": "rotate-half", "norm_eps": 1e-5, "seed": 0}
PART = "rank-00000.safetensors"


@dataclass(frozen=True)
class Here(World):
    """One of several ranks that are all played by this process, one after the other: it hears itself only."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """What this rank has."""
        return values

    def from_first(self, number: int) -> int:
        """What this rank says."""
        return number


def layout(rank: int = 0, size: int = 1, tensor: int = 1) -> Layout:
    """A rank's place among so many."""
    world = Here(rank, size, rank, size, torch.device("cpu"))
    return Layout(world, world, Parallelism(tensor_parallel=tensor))


def state(step: int) -> dict[str, Piece]:
    """Tensors that say which step they are of."""
    tensors = {"weights/a": torch.full((3, 2), float(step)), "random": torch.arange(5, dtype=torch.uint8)}
    return {name: Piece.whole(tensor) for name, tensor in tensors.items()}


def begun(folder: Path, keep: Keep = TWO, run: Mapping[str, Any] = RUN) -> Checkpoints:
    """The writer of a run of one rank."""
    checkpoints = Checkpoints(folder, run, keep, layout())
    checkpoints.begin()
    return checkpoints


def saved(folder: Path, *steps: int, keep: Keep = TWO) -> Checkpoints:
    """Checkpoints of these steps, by a writer that has ended."""
    checkpoints = begun(folder, keep)
    for step in steps:
        checkpoints.save(step, step * 10, state(step), {"steps": pa.table({"step": range(1, step + 1)})})
    checkpoints.close()
    return checkpoints


def steps(checkpoints: Checkpoints) -> list[int]:
    """The steps that can be resumed from."""
    return [marker.step for _, marker in checkpoints.complete()]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Tensors keep their bits and types, tables their rows, the marker its numbers."""
    found = saved(tmp_path / "c", 3).newest()
    assert found is not None
    folder, marker = found
    assert (folder.name, marker.step, marker.num_tokens, marker.run) == ("step-000003", 3, 30, RUN)
    loaded = state(0)
    load(folder, loaded)
    assert all(torch.equal(loaded[name].local, piece.local) for name, piece in state(3).items())
    assert load_tables(folder, ["steps"])["steps"]["step"].to_pylist() == [1, 2, 3]
    assert {f.name for f in folder.iterdir()} == {PART, INDEX, MARKER, "steps.parquet"}


def test_nothing_saved_is_nothing_found(tmp_path: Path) -> None:
    """A run that has no checkpoint starts from the start."""
    assert Checkpoints(tmp_path / "none", RUN, Keep(2), layout()).begin() is None


def test_the_newest_are_kept_and_every_so_many(tmp_path: Path) -> None:
    """The last ones stay, and those of every third step; nothing else is there but the writer's own folder."""
    assert steps(saved(tmp_path / "a", 1, 2, 3, 4)) == [3, 4]
    names = sorted(f.name for f in (tmp_path / "a").iterdir())
    assert names == [".writer-000001", "step-000003", "step-000004"]
    assert [f.name for f in (tmp_path / "a" / ".writer-000001").iterdir()] == [OWNER]
    assert steps(saved(tmp_path / "b", *range(1, 9), keep=Keep(1, every=3))) == [3, 6, 8]


def test_steps_sort_by_number(tmp_path: Path) -> None:
    """A step of more than six digits is newer than one of six."""
    checkpoints = saved(tmp_path, 999_998, 1_000_000, keep=Keep(3))
    assert steps(checkpoints) == [999_998, 1_000_000]
    assert (checkpoints.newest() or [None])[0] == tmp_path / "step-1000000"


def test_a_save_that_was_killed_does_not_count(tmp_path: Path) -> None:
    """A folder without its marker is never resumed from, and goes with the folder of a writer that was killed."""
    saved(tmp_path, 1, 2, keep=Keep(3))
    (tmp_path / "step-000002" / MARKER).unlink()
    shutil.copytree(tmp_path / "step-000001", room_of(tmp_path, 1) / "step-000003")
    checkpoints = begun(tmp_path)
    assert steps(checkpoints) == [1]
    checkpoints.close()
    assert sorted(f.name for f in tmp_path.iterdir()) == [".writer-000002", "step-000001"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "marker"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file cut short, with one bit turned, gone, or a half-written marker: the older checkpoint is used."""
    checkpoints = saved(tmp_path, 1, 2)
    tensors, marker = tmp_path / "step-000002" / PART, tmp_path / "step-000002" / MARKER
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
    assert steps(checkpoints) == [1]
    assert ("damaged" in capsys.readouterr().out) == (damage != "marker")


def test_another_run_is_refused(tmp_path: Path) -> None:
    """Weights trained under other conventions are not gone on with: every difference is named, and the cure."""
    saved(tmp_path, 1)
    other = Checkpoints(tmp_path, {"rope": "interleaved", "norm_eps": 1e-5, "seed": 1}, Keep(2), layout())
    with pytest.raises(ContractError) as error:
        other.begin()
    other.close()
    words = str(error.value)
    assert "rope: the checkpoint has 'rotate-half', this run 'interleaved'" in words
    assert "seed: the checkpoint has 0, this run 1" in words
    assert "norm_eps" not in words
    assert "another --out" in words


def test_a_checkpoint_without_a_convention_is_refused(tmp_path: Path) -> None:
    """A convention that the checkpoint does not state is a difference, too."""
    saved(tmp_path, 1)
    with pytest.raises(ContractError, match="rope_theta: the checkpoint has None"):
        Checkpoints(tmp_path, {**RUN, "rope_theta": 10_000.0}, Keep(2), layout()).newest()


def test_saving_again_replaces(tmp_path: Path) -> None:
    """A step that is saved twice has one complete folder, the later one."""
    checkpoints = begun(tmp_path)
    for num_tokens in (50, 51):
        checkpoints.save(5, num_tokens, state(5), {})
    checkpoints.close()
    assert [m.num_tokens for _, m in checkpoints.complete()] == [51]
    assert json.loads((tmp_path / "step-000005" / MARKER).read_text())["num_tokens"] == 51


def test_rewinding_forgets_what_came_after(tmp_path: Path) -> None:
    """After a rewind the run stands at an older checkpoint."""
    checkpoints = begun(tmp_path, Keep(9))
    for step in (1, 2, 3):
        checkpoints.save(step, step, state(step), {})
    checkpoints.rewind(1)
    assert steps(checkpoints) == [1]
    checkpoints.close()


def test_training_goes_on_while_a_save_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`save` returns before anything is written, what changes then is not saved, and the next save waits for it."""
    allowed, write = threading.Event(), Staging.write

    def slowly(self: Staging, file: Path) -> Any:
        assert allowed.wait(60)
        return write(self, file)

    monkeypatch.setattr(Staging, "write", slowly)
    checkpoints, changing = begun(tmp_path), state(1)
    checkpoints.save(1, 1, changing, {})
    changing["weights/a"].local.zero_()
    assert steps(checkpoints) == []
    allowed.set()
    checkpoints.save(2, 2, state(2), {})
    assert 1 in steps(checkpoints)
    checkpoints.close()
    load(tmp_path / "step-000001", changing)
    assert torch.equal(changing["weights/a"].local, torch.full((3, 2), 1.0))


def test_an_error_of_a_save_is_raised_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not pass in silence; nothing of that save looks done."""

    def full(self: Staging, file: Path) -> Any:
        raise OSError(28, "No space left on device")

    checkpoints = begun(tmp_path)
    monkeypatch.setattr(Staging, "write", full)
    checkpoints.save(1, 1, state(1), {})
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, 2, state(2), {})
    monkeypatch.undo()
    checkpoints.save(3, 3, state(3), {})
    checkpoints.close()
    assert steps(checkpoints) == [3]


def test_a_writer_that_was_followed_saves_no_more(tmp_path: Path) -> None:
    """When another job has the run, a save of the first one ends with an error that names it, and changes nothing."""
    first = saved(tmp_path, 1)
    second = Lease.take(tmp_path)
    first.save(2, 2, state(2), {})
    with pytest.raises(LeaseLost, match=f"process {os.getpid()} on .* has taken over this run"):
        first.wait()
    assert steps(first) == [1]
    second.release()


def full_state() -> dict[str, torch.Tensor]:
    """Whole tensors whose sizes few numbers of ranks divide."""
    chance = torch.Generator().manual_seed(0)
    shapes = {"weights/a": (10, 6), "weights/b": (7,), "weights/c": (6, 9), "weights/d": (3, 3)}
    return {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}


def cut_state(at: Layout) -> dict[str, Piece]:
    """What a rank holds of them: cut by data ranks, by tensor ranks, by both, and not at all."""
    splits: dict[str, Any] = {
        "weights/a": (("tensor", 0), ("data", 0)),
        "weights/b": (("data", 0),),
        "weights/c": (("tensor", 1), ("data", 0)),
        "weights/d": (),
    }
    pieces = {}
    for name, tensor in full_state().items():
        cut = Cut(tuple(tensor.shape), splits[name])
        box = cut.box(at.grid, at.place).within(Box((0,) * tensor.ndim, cut.shape))
        pieces[name] = Piece(tensor[box].clone(), cut)
    return pieces


@pytest.mark.parametrize("tensor", [1, 2])
def test_four_ranks_save_and_any_number_loads(tensor: int, tmp_path: Path) -> None:
    """What 4 ranks wrote, each its part and no part twice, 1, 2 and 8 ranks read, each its own, to the bit."""
    ranks = [Checkpoints(tmp_path, RUN, Keep(2), layout(r, 4, tensor)) for r in range(4)]
    ranks[0].begin()
    for other in ranks[1:]:
        other._number = ranks[0]._number
    for one in reversed(ranks):  # rank 0 comes last and finds the others' parts, or waits for them
        one.save(7, 70, cut_state(one.layout), {})
    for one in ranks:
        one.close()
    folder = tmp_path / "step-000007"
    elements = sum(t.numel() for t in full_state().values())
    parts = list(folder.glob("rank-*.safetensors"))
    assert len(parts) == 4
    assert elements * 4 < sum(f.stat().st_size for f in parts) < elements * 4 + 4 * 1000
    assert list(folder.glob("*.json")) != []
    for size, other_tensor in ((1, 1), (2, 1), (2, 2), (8, 1), (8, 4)):
        for rank in range(size):
            at = layout(rank, size, other_tensor)
            wanted, expected = cut_state(at), cut_state(at)
            for piece in wanted.values():
                piece.local.zero_()
            load(folder, wanted, at)
            assert all(torch.equal(wanted[n].local, expected[n].local) for n in expected)


def test_a_rank_that_writes_nothing_leaves_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a rank was killed, rank 0 gives up after a while and the checkpoint is not there."""
    monkeypatch.setattr(checkpoint, "COMMIT_SECONDS", 0.1)
    first = Checkpoints(tmp_path, RUN, Keep(2), layout(0, 2))
    first.begin()
    first.save(7, 70, cut_state(first.layout), {})
    with pytest.raises(TimeoutError, match="rank 1 has not written its part"):
        first.close()
    assert steps(first) == []


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    """Tensors that the checkpoint does not have, or has in another shape, are all named."""
    saved(tmp_path, 1)
    wanted = {"weights/a": Piece.whole(torch.zeros(2, 2)), "weights/z": Piece.whole(torch.zeros(1))}
    with pytest.raises(ContractError) as error:
        load(tmp_path / "step-000001", wanted)
    assert "weights/a: the checkpoint has shape (3, 2), this run (2, 2)" in str(error.value)
    assert "weights/z: not in the checkpoint" in str(error.value)
