import subprocess
import sys

import pytest

from stages.base import PACKAGE_ROOT, SettingsError
from stages.deploy import Deploy


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_free(host: str) -> None:
    """An address that only this machine reaches needs no permission."""
    assert Deploy.parse({"host": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", ""])  # noqa: S104
def test_other_addresses_need_permission(host: str) -> None:
    """An address that others reach is refused unless `allow_remote` says so."""
    with pytest.raises(SettingsError, match="not loopback"):
        Deploy.parse({"host": host})
    assert Deploy.parse({"host": host, "allow_remote": True}).host == host


@pytest.mark.parametrize("settings", [{"port": -1}, {"port": 65536}, {"prompt": ""}, {"timeout_seconds": 0}])
def test_limits(settings: dict[str, object]) -> None:
    """Settings that cannot be are refused by name."""
    with pytest.raises(SettingsError, match=f"deploy.{next(iter(settings))}"):
        Deploy.parse(settings)


def test_time_limit_is_no_part_of_the_address() -> None:
    """How long to wait changes nothing about what comes out."""
    short, long = (Deploy(timeout_seconds=t).fingerprint({"model": "a"}) for t in (1.0, 500.0))
    assert short == long


def test_stop_is_light() -> None:
    """Stopping a server imports neither torch nor transformers nor a client."""
    code = "import sys, stages.deploy.stop; print([m for m in ('torch', 'transformers', 'openai') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
