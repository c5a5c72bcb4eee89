"""What travels: the function's source by its digest, through the real serializer, into a Python without this project."""

import json
import subprocess
import sys

import pytest

from stages.base import SettingsError
from workflows.remote import channel
from workflows.remote.channel import Globus, function_id, refused
from workflows.remote.request import Logs, payload

globus_compute_sdk = pytest.importorskip(
    "globus_compute_sdk", reason="the serializer is Globus Compute's own: pip install -e '.[remote]'"
)

RUN = "20261122-0123456789ab"
ALONE = """
import json, sys
for name in ("workflows", "stages", "schemas"):
    sys.modules[name] = None
try:
    import workflows
except ImportError:
    pass
else:
    raise SystemExit("this process can import the project")
from globus_compute_sdk.serialize import ComputeSerializer, JSONData, PureSourceTextInspect
serializer = ComputeSerializer(allowed_deserializer_types=[JSONData, PureSourceTextInspect])
function, args, kwargs = serializer.unpack_and_deserialize(sys.stdin.read())
print(ComputeSerializer.serialize_from_list(function(*args, **kwargs), [JSONData]))
"""


class Service:
    """What of the service's client is used here: it keeps sources under ids."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}

    def register_source_code(self, source: str, function_name: str) -> str:
        """Keep a source; returns its id."""
        self.sources[f"id-{len(self.sources)}"] = source
        assert f"def {function_name}(" in source
        return f"id-{len(self.sources) - 1}"

    def get_function(self, function: str) -> dict[str, str]:
        """Give back a source, or the service's own error."""
        import globus_sdk
        import requests

        if function not in self.sources:
            response = requests.Response()
            response.status_code = 404
            response.request = requests.Request("GET", "https://localhost/functions").prepare()
            raise globus_sdk.GlobusAPIError(response)
        return {"function_code": self.sources[function]}


def task(request: Logs) -> str:
    """The function and its argument, packed as they are sent."""
    serializer = channel.serializer()
    code = channel.PACKED + channel.source()
    return serializer.pack_buffers([code, serializer.serialize([payload(request)]), serializer.serialize({})])


def test_the_function_runs_where_the_project_cannot_be_imported(elsewhere) -> None:
    """Packed by the real serializer and unpacked in a fresh process, the source calls the checkout that it is told."""
    request = Logs(run=RUN, project=str(elsewhere))
    packed = task(request)
    assert len(packed) < 4096
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE], input=packed, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = channel.serializer().deserialize(done.stdout.rstrip("\n"))
    assert found == {"got": payload(request), "argv": ["-m", "workflows.remote.answer"], "cwd": str(elsewhere)}


def test_the_service_marks_source_as_we_think() -> None:
    """The mark that is taken off a source before its digest is the serializer's own."""
    packed = channel.serializer().serialize(channel.function.borealis)
    assert packed.startswith(channel.PACKED)


def test_a_pickle_is_not_opened() -> None:
    """An answer that is not JSON is refused, whatever is in it."""
    from globus_compute_sdk.errors import DeserializationError
    from globus_compute_sdk.serialize import ComputeSerializer, DillDataBase64

    pickled = ComputeSerializer(strategy_data=DillDataBase64()).serialize({"state": "done"})
    with pytest.raises(DeserializationError, match="disabled"):
        channel.serializer().deserialize(pickled)


def test_a_failing_checkout_says_so(elsewhere) -> None:
    """Where the other side's program fails, its words come back."""
    python = elsewhere / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no such module >&2\nexit 7\n")
    with pytest.raises(RuntimeError, match="ended with 7: no such module"):
        channel.function.borealis(payload(Logs(run=RUN, project=str(elsewhere))))


def test_the_function_is_registered_once(tmp_path, monkeypatch) -> None:
    """The same source is registered once; another one under its id, or none, is registered anew."""
    monkeypatch.setenv("BOREALIS_STATE", str(tmp_path))
    service = Service()
    first = function_id(service)
    assert function_id(service) == first
    assert len(service.sources) == 1
    service.sources[first] = channel.PACKED + channel.source()  # as a service may keep it
    assert function_id(service) == first
    service.sources[first] = channel.source().replace("300", "301")
    second = function_id(service)
    assert second != first
    assert service.sources[second] == channel.source()
    del service.sources[second]
    service.sources["other"] = "x"
    assert function_id(service) not in (first, second)
    known = json.loads((tmp_path / "functions.json").read_text())
    assert list(known) == [channel.source_sha256(channel.source())]


def test_a_refusal_is_the_users_error() -> None:
    """What the other side refuses is raised here in its words; an answer is passed on."""
    with pytest.raises(SettingsError, match="the other side says: no run"):
        refused({"problem": "no run"})
    assert refused({"state": "done"}) == {"state": "done"}


def test_endpoints_are_uuids() -> None:
    """An endpoint's name is brought to one form; anything else is refused before a login."""
    found = channel.channel("9A947BA5-F537-4681-ACF3-CC66485AADEC")
    assert isinstance(found, Globus)
    assert found.endpoint == "9a947ba5-f537-4681-acf3-cc66485aadec"
    with pytest.raises(SettingsError, match="expected the UUID"):
        channel.channel("my endpoint")
