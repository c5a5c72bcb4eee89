"""A Hugging Face folder as a table row, and back."""

import json
from pathlib import Path
from typing import Any

from schemas.table import ContractError
from schemas.training import Model, Phase
from stages.tables import Outputs, Reader


def model_row(outputs: Outputs, folder: Path, name: str, phase: Phase, num_parameters: int) -> Model:
    """The row for a folder that was written inside `outputs.folder`."""
    config = json.loads((folder / "config.json").read_text())
    return Model(
        name=name,
        phase=phase,
        architecture=config["architectures"][0],
        num_parameters=num_parameters,
        context_tokens=config["max_position_embeddings"],
        files=[outputs.blob(f) for f in sorted(folder.iterdir()) if f.is_file()],
    )


def only_model(reader: Reader) -> tuple[Model, Path]:
    """The one model of a table and its folder, every file checked for its size."""
    rows: list[Any] = list(reader.rows())
    if len(rows) != 1:
        raise ContractError(str(reader.folder), [f"expected 1 model, found {len(rows)}"])
    files = [reader.open_path(blob) for blob in rows[0].files]
    return rows[0], next(f.parent for f in files if f.name == "config.json")
