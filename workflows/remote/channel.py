"""Ways to the other side: this machine, or an endpoint of Globus Compute. Both call the same source, by its digest."""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any, Protocol

from schemas.manifest import write_atomic
from stages.base import SettingsError
from workflows.remote import function
from workflows.remote.request import Message, payload

NAME = "borealis"
HERE = "here"
PACKED = f"st\n{NAME}:"  # how Globus Compute marks source, and says which of its functions is meant
REPLY_SECONDS = 600.0


class Channel(Protocol):
    """Carries a request there and an answer back."""

    def call(self, request: Message) -> dict[str, Any]:
        """The answer; `SettingsError` with the other side's words if it refused."""


def source() -> str:
    """The function's source as it is registered."""
    return Path(function.__file__).read_text()


def source_sha256(text: str) -> str:
    """What a source is compared by."""
    return hashlib.sha256(text.encode()).hexdigest()


def state_folder() -> Path:
    """Where this user's runs and registered functions are remembered."""
    return Path(os.environ.get("BOREALIS_STATE", Path.home() / ".borealis"))


class Here:
    """The other side is this machine: the same source, called in this process."""

    def call(self, request: Message) -> dict[str, Any]:
        """Run the shipped source, compiled anew, as an endpoint would."""
        space: dict[str, Any] = {}
        exec(compile(source(), "<shipped>", "exec"), space)  # noqa: S102 - our own file
        return refused(space[NAME](payload(request)))


class Globus:
    """An endpoint. Login is Globus's own: a browser, or GLOBUS_COMPUTE_CLIENT_ID and _SECRET in the environment."""

    def __init__(self, endpoint: str, client: Any = None) -> None:
        self.endpoint, self._client = endpoint, client

    def call(self, request: Message) -> dict[str, Any]:
        """Send the request as JSON and wait for the answer, in JSON too: nothing that comes back is unpickled."""
        fields = payload(request)
        client = self._client or connect()
        from globus_sdk import GlobusError

        try:
            return refused(self._send(fields, client))
        except GlobusError as error:
            raise SettingsError(f"endpoint {self.endpoint}: {error}") from error

    def _send(self, fields: dict[str, Any], client: Any) -> dict[str, Any]:
        from globus_compute_sdk import Executor
        from globus_compute_sdk.serialize import JSONData

        ways = {"serializer": serializer(), "result_serializers": [JSONData]}
        with Executor(self.endpoint, client=client, **ways) as executor:
            future = executor.submit_to_registered_function(function_id(client), (fields,))
            try:
                error = future.exception(REPLY_SECONDS)
            except TimeoutError:
                # Private, but nothing public keeps the executor, and this process at its end, from waiting for ever.
                executor._get_result_watcher().shutdown(wait=False, cancel_futures=True)  # noqa: SLF001
                raise SettingsError(
                    f"endpoint {self.endpoint}: no answer in {REPLY_SECONDS:.0f} s: is it started? globus-compute-endpoint list"
                ) from None
            if error:
                raise SettingsError(f"endpoint {self.endpoint}: {words_of(error)}") from error
            answer: dict[str, Any] = future.result()
            return answer


def words_of(error: BaseException) -> str:
    """What is known of a failure: the other side's words, else its cause on this one."""
    return str(getattr(error, "remote_data", "") or error.__cause__ or error).strip()


def serializer() -> Any:
    """Arguments as JSON, code as source, and nothing else on either way."""
    from globus_compute_sdk.serialize import ComputeSerializer, JSONData, PureSourceTextInspect

    allowed = [JSONData, PureSourceTextInspect]
    return ComputeSerializer(PureSourceTextInspect(), JSONData(), allowed_deserializer_types=allowed)


def connect() -> Any:
    """Globus Compute's own client."""
    try:
        from globus_compute_sdk import Client
    except ImportError:
        raise SettingsError("--endpoint needs 1 more package: pip install -e '.[remote]'") from None
    return Client()


def function_id(client: Any) -> str:
    """The registered function whose source is ours, digest by digest; registered anew where there is none."""
    digest = source_sha256(source())
    file = state_folder() / "functions.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}
    if digest in known and registered_sha256(client, known[digest]) == digest:
        return known[digest]
    known[digest] = str(client.register_source_code(source(), NAME))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(known, indent=1))
    return known[digest]


def registered_sha256(client: Any, function: str) -> str:
    """Digest of the source that the service has under an id; empty if it has none."""
    from globus_sdk import GlobusAPIError

    try:
        found = client.get_function(function)
    except GlobusAPIError:
        return ""
    return source_sha256(found.get("function_code", "").removeprefix(PACKED))


def refused(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, unless it says what is wrong."""
    if problem := answer.get("problem"):
        raise SettingsError(f"the other side says: {problem}")
    return answer


def channel(endpoint: str) -> Channel:
    """`here`, or the UUID of an endpoint."""
    if endpoint == HERE:
        return Here()
    try:
        return Globus(str(uuid.UUID(endpoint)))
    except ValueError:
        raise SettingsError(f"--endpoint {endpoint}: expected the UUID of an endpoint, or {HERE}") from None
