"""Deploy: the model behind an OpenAI-compatible address."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from schemas.serving import Endpoint
from schemas.training import Model
from stages.base import Stage
from stages.tables import Outputs, Reader


class Deploy(Stage):
    """Serve a model on the loopback interface and write its address when it has answered."""

    name = "deploy"
    undivided = "one server is started"
    inputs = {"model": Model}
    outputs = {"endpoint": Endpoint}
    resources = "service"
    halves = ""
    shares = ("model",)
    packages = ("torch", "transformers", "fastapi", "uvicorn", "openai")
    located: ClassVar[frozenset[str]] = frozenset({"timeout_seconds"})

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: a free one
    allow_remote: bool = Field(default=False, validate_default=True)  # let `host` be an address others can reach
    prompt: Annotated[str, Field(min_length=1)] = "What was measured, and what was found?"
    max_tokens: Annotated[int, Field(ge=1)] = 64  # of the answer to `prompt`
    timeout_seconds: Annotated[float, Field(gt=0)] = 180.0  # from the start to the answer

    @field_validator("allow_remote")
    @classmethod
    def _loopback_unless_told(cls, allowed: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        host = info.data.get("host", "127.0.0.1")
        if not allowed and not _is_loopback(host):
            raise ValueError(f"host {host} is not loopback and the server asks nobody who they are; true permits it")
        return allowed

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Start the server, wait for an answer, leave it running."""
        from stages.deploy.serve import deploy

        deploy(self, inputs["model"], outputs)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: what it means is known only when it is looked up
        return False
