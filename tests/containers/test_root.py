"""A base made without a hub: what is in the archive, as another program reads it, and what is left out of the root."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile

import pytest

from containers import __main__ as command_line
from containers import root
from stages.base import SettingsError


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """An entry of an archive."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry


@pytest.fixture
def tree(tmp_path):
    """A root with everything that a Debian root has: device nodes, links of both kinds, a set-uid program, a long name."""
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("dev", tarfile.DIRTYPE, mode=0o755))
        tar.addfile(member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3))
        tar.addfile(member("dev/loop0", tarfile.BLKTYPE, devmajor=7))
        tar.addfile(member("run/pipe", tarfile.FIFOTYPE))
        tar.addfile(member("usr/bin/su", mode=0o4755, size=3, mtime=7), io.BytesIO(b"elf"))
        tar.addfile(member("usr/bin/empty", size=0))
        tar.addfile(member("usr/bin/runuser", tarfile.LNKTYPE, linkname="usr/bin/su"))
        tar.addfile(member("bin", tarfile.SYMTYPE, linkname="usr/bin"))
        tar.addfile(
            member(f"usr/share/{'ä' * 120}/x", size=1, pax_headers={"SCHILY.xattr.user.a": "b"}), io.BytesIO(b"x")
        )
    return archive


def test_a_root_without_devices(tree, tmp_path) -> None:
    """Device nodes and pipes go; contents, modes, times, links, attributes and long names stay as they were."""
    root.leave_out_devices(tree, tmp_path / "layer.tar")
    with tarfile.open(tree) as old, tarfile.open(tmp_path / "layer.tar") as new:
        before = {m.name: m for m in old if not m.name.startswith(("dev/", "run/"))}
        after = {m.name: m for m in new}
        assert list(after) == list(before)
        for name, entry in before.items():
            found = after[name]
            assert found.get_info() == entry.get_info()
            assert found.pax_headers.get("SCHILY.xattr.user.a") == entry.pax_headers.get("SCHILY.xattr.user.a")
            if entry.isreg():
                assert new.extractfile(found).read() == old.extractfile(entry).read()


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")]
)
def test_an_archive_that_docker_could_load(tree, tmp_path, monkeypatch, machine, architecture) -> None:
    """The list names a configuration by its own digest, and a layer whose digest the configuration has; the machine is this one."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    root.pack(tree, tmp_path / "base.tar")
    with tarfile.open(tmp_path / "base.tar") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}
    [image] = json.loads(files["manifest.json"])
    config = files[image["Config"]]
    assert image["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    [layer] = image["Layers"]
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(files[layer]).hexdigest()}"]
    assert files[layer] == tree.read_bytes()
    assert json.loads(config)["architecture"] == architecture
    assert not (tmp_path / "base.partial").exists()


def test_the_whole_way_with_another_maker(tree, tmp_path, monkeypatch) -> None:
    """What mmdebstrap makes is packed with all packages asked for; one that is missing or fails leaves no base."""
    asked = []

    def run(words, check: bool) -> None:
        asked.append(words)
        shutil.copyfile(tree, words[-1])

    monkeypatch.setattr(root.shutil, "which", lambda _: "/usr/bin/mmdebstrap")
    monkeypatch.setattr(root.subprocess, "run", run)
    root.make(tmp_path / "new" / "base.tar", "trixie", ("git",))
    assert "--include=python3,python3-venv,ca-certificates,git" in asked[0]
    assert asked[0][-2] == "trixie"
    assert tarfile.is_tarfile(tmp_path / "new" / "base.tar")

    def fail(words, check: bool) -> None:
        raise subprocess.CalledProcessError(25, words)

    monkeypatch.setattr(root.subprocess, "run", fail)
    assert command_line.main(["base", str(tmp_path / "other.tar")]) == 1
    assert not (tmp_path / "other.tar").exists()
    monkeypatch.setattr(root.shutil, "which", lambda _: None)
    with pytest.raises(SettingsError, match="apt-get install mmdebstrap"):
        root.make(tmp_path / "other.tar")
