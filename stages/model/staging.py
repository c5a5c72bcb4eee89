"""A rank's part of a checkpoint: copied aside while training waits, written while it goes on.

The copy is laid out as the data of a safetensors file, so what is written is a header and one block of memory. The
memory is kept from save to save: fresh memory costs more than the copy. Where the site names fast storage of the node
(`BOREALIS_SCRATCH`), the memory is a file there that the kernel may write out; it has no name, so a kill leaves nothing.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from schemas.table import BlobRef

SCRATCH = "BOREALIS_SCRATCH"
BLOCK_BYTES = 8 << 20  # written and digested at a time, in the cache still when it is read the second time
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Staging:
    """Room for one copy of what a rank saves."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._header = b""
        self._num_bytes = 0

    def copy(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy these tensors aside; the copy before must have been written."""
        ends: dict[str, tuple[int, int]] = {}
        end = 0
        for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):  # keeps all aligned
            ends[name] = (end, end := end + tensor.numel() * tensor.element_size())
        self._header, self._num_bytes = _header(tensors, ends), end
        self._make_room(end)
        for name, tensor in tensors.items():
            begin, finish = ends[name]
            room = self._memory[begin:finish].view(tensor.dtype).view(tensor.shape)
            room.copy_(tensor, non_blocking=True)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def write(self, file: Path) -> BlobRef:
        """Write the copy to a safetensors file, on the disk when this returns; the digest is taken on the way."""
        digest = hashlib.sha256()
        content = self._memory.numpy().data[: self._num_bytes]
        blocks = [
            memoryview(self._header),
            *(content[i : i + BLOCK_BYTES] for i in range(0, len(content), BLOCK_BYTES)),
        ]
        with file.open("wb", buffering=0) as stream:
            for block in blocks:
                _write_all(stream.fileno(), block)
                digest.update(block)
            os.fsync(stream.fileno())
        size = len(self._header) + self._num_bytes
        return BlobRef(path=file.name, size_bytes=size, sha256=digest.hexdigest())

    def _make_room(self, num_bytes: int) -> None:
        if len(self._memory) >= num_bytes:
            return
        scratch = os.environ.get(SCRATCH)
        if scratch is None:
            self._memory = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=torch.accelerator.is_available())
            return
        descriptor, name = tempfile.mkstemp(prefix="borealis-", dir=scratch)
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)  # a full disk is an error here, not a signal later
            self._memory = torch.from_file(name, shared=True, size=num_bytes, dtype=torch.uint8)
        finally:
            os.close(descriptor)
            Path(name).unlink()


def _header(tensors: Mapping[str, Tensor], ends: Mapping[str, tuple[int, int]]) -> bytes:
    entries = {
        name: {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": list(ends[name])}
        for name, tensor in tensors.items()
    }
    words = json.dumps(entries).encode()
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words


def _write_all(descriptor: int, block: memoryview) -> None:
    while block:
        block = block[os.write(descriptor, block) :]
