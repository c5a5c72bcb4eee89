"""Can this node work by itself? Writes and reads a file in its temporary folder, and multiplies on each of its devices.

    python -m workflows.probe [DEVICES]

Ends with 0 if it can. DEVICES is how many a node has: one that is gone is a fault.
"""

import os
import sys
import tempfile

SIZE_BYTES, WIDTH = 1 << 20, 256


def disk() -> str:
    """What is wrong with the temporary folder, or nothing."""
    data = os.urandom(SIZE_BYTES)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            return "" if file.read() == data else f"{tempfile.gettempdir()}: reads other bytes than were written"
    except OSError as error:
        return f"{tempfile.gettempdir()}: {error}"


def devices(expected: int) -> str:
    """What is wrong with the accelerators, or nothing; `expected` is their number, 0 for none to be looked at."""
    if not expected:
        return ""
    import torch

    found = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if found < expected:
        return f"{found} of {expected} devices"
    kind = torch.accelerator.current_accelerator()
    for index in range(found):
        ones = torch.ones(WIDTH, WIDTH, device=f"{kind}:{index}")
        if float((ones @ ones).sum()) != WIDTH**3:
            return f"device {index} multiplies wrongly"
    return ""


def main() -> int:
    """Print what is wrong, if anything is."""
    expected = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    problems = [words for words in (disk(), devices(expected)) if words]
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
