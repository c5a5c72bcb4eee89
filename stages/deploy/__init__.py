"""Deploy: the model behind an OpenAI-compatible address."""

from collections.abc import Mapping

from schemas.serving import Endpoint
from schemas.training import Model
from stages.base import Stage
from stages.tables import Outputs, Reader


class Deploy(Stage):
    """Serve a model on the loopback interface and write its address when it has answered."""

    name = "deploy"
    inputs = {"model": Model}
    outputs = {"endpoint": Endpoint}
    resources = "service"
    packages = ("torch", "transformers", "fastapi", "uvicorn", "openai")

    host: str = "127.0.0.1"
    port: int = 0

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Start the server, wait for an answer, leave it running."""
        from stages.deploy.serve import deploy

        deploy(self, inputs["model"], outputs)
