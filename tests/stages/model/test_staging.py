import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.model.staging import SCRATCH, Staging


def tensors(scale: int = 1) -> dict[str, torch.Tensor]:
    """One of every kind, of sizes that leave the next one unaligned if nothing is done about it."""
    return {
        "bytes": torch.arange(5 * scale, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(3, 1, dtype=torch.bfloat16),
        "weights": torch.randn(7, 3 * scale).t(),
        "number": torch.tensor(2.5),
        "steps": torch.tensor([1 << 40]),
        "exact": torch.randn(2, dtype=torch.float64),
        "short": torch.randn(3, dtype=torch.float16),
        "ids": torch.arange(4, dtype=torch.int32),
    }


def same(file: Path, expected: dict[str, torch.Tensor]) -> bool:
    """Whether the safetensors library reads these tensors, with their types, and nothing else."""
    found = load_file(file)
    alike = (found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in expected.items())
    return found.keys() == expected.keys() and all(alike)


@pytest.mark.parametrize("on_scratch", [False, True])
def test_the_library_reads_what_is_written(on_scratch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of every type come back to the bit, the file is as long as said, and its digest is that of its bytes."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    if on_scratch:
        monkeypatch.setenv(SCRATCH, str(scratch))
    staging, given = Staging(), tensors()
    staging.copy(given)
    assert list(scratch.iterdir()) == []
    blob = staging.write(tmp_path / "part.safetensors")
    content = (tmp_path / blob.path).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (blob.size_bytes, blob.sha256)
    assert same(tmp_path / blob.path, given)


def test_what_changes_after_the_copy_is_not_written(tmp_path: Path) -> None:
    """The file has the values of the moment of the copy."""
    staging, given = Staging(), tensors()
    staging.copy(given)
    before = {name: tensor.clone() for name, tensor in given.items()}
    given["weights"].add_(1)
    staging.write(tmp_path / "part.safetensors")
    assert same(tmp_path / "part.safetensors", before)


def test_memory_is_kept_and_grows(tmp_path: Path) -> None:
    """A second copy of as much takes the same memory; one of more gets more; one of less leaves no rest behind."""
    staging, places = Staging(), []
    for number, scale in enumerate((2, 2, 9, 1)):
        given = tensors(scale)
        staging.copy(given)
        places.append(staging._memory.data_ptr())
        staging.write(tmp_path / f"{number}.safetensors")
        assert same(tmp_path / f"{number}.safetensors", given)
    assert places[0] == places[1]
    assert places[2] == places[3]


def test_no_room_is_an_error(tmp_path: Path) -> None:
    """A disk without room is an error of the write, not a short file."""
    staging = Staging()
    staging.copy(tensors())
    with pytest.raises(OSError, match="No space left"):
        staging.write(Path("/dev/full"))
