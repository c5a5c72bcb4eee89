"""Tables of serving: where a model answers."""

from schemas.corpus import Int32
from schemas.table import Row


class Endpoint(Row):
    """An OpenAI-compatible server that has answered. `pid` and `process_started` name the process on `host`."""

    url: str
    model: str
    host: str
    pid: Int32
    process_started: float
    prompt: str
    answer: str
