"""A base image where no hub can be reached: a Debian root made from the archive, as one `docker-archive` file.

Device nodes are left out: an ordinary user's build may not make them, and Apptainer mounts the host's.
"""

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from schemas.table import sha256_file
from stages.base import SettingsError

PACKAGES = ("python3", "python3-venv", "ca-certificates")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as image lists name them
ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def command(suite: str, packages: tuple[str, ...], archive: Path) -> list[str]:
    """The argument vector that makes a root. A mirror may be a copy of some day, past its date: its signature counts."""
    include = ",".join((*PACKAGES, *packages))
    options = ["--variant=minbase", f"--include={include}", '--aptopt=Acquire::Check-Valid-Until "false"']
    return ["mmdebstrap", "--quiet", *options, suite, str(archive)]


def make(target: Path, suite: str = "bookworm", packages: tuple[str, ...] = ()) -> None:
    """Make a root of `suite` with Python and `packages`, and pack it as `target`."""
    if shutil.which("mmdebstrap") is None:
        raise SettingsError("containers: no mmdebstrap here: apt-get install mmdebstrap, or give --base")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root, layer = Path(scratch) / "root.tar", Path(scratch) / "layer.tar"
        subprocess.run(command(suite, packages, root), check=True)
        leave_out_devices(root, layer)
        pack(layer, target)


def leave_out_devices(source: Path, target: Path) -> None:
    """Copy an archive without its device nodes and pipes."""
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            if not member.isdev():
                new.addfile(member, old.extractfile(member) if member.isreg() else None)


def pack(layer: Path, target: Path) -> None:
    """Wrap one layer as an image: its configuration, and the list that names both."""
    digest = sha256_file(layer)
    config = {
        "architecture": ARCHITECTURES.get(machine := platform.machine(), machine),
        "os": "linux",
        "config": {"Env": ENVIRONMENT},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    name = f"{hashlib.sha256(_json(config)).hexdigest()}.json"
    place = f"{digest}/layer.tar"
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as archive:
        archive.add(layer, place)
        _add(archive, name, config)
        _add(archive, "manifest.json", [{"Config": name, "RepoTags": ["borealis/base:latest"], "Layers": [place]}])
    partial.replace(target)


def _add(archive: tarfile.TarFile, name: str, value: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(_json(value))
    archive.addfile(member, io.BytesIO(_json(value)))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
