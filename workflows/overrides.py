"""Settings from the command line and from a file, by stage: `--set dedup.num_bands=20`, `--settings FILE`."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.base import SettingsError

Overrides = dict[str, dict[str, Any]]


def read_overrides(assignments: Sequence[str], file: Path | None) -> Overrides:
    """Settings by stage name; `--set` wins over the file. `SettingsError` lists all that cannot be read."""
    found = _read_file(file) if file else {}
    problems = []
    for text in assignments:
        where, equals, value = text.partition("=")
        stage, dot, field = where.partition(".")
        if not (equals and dot and stage and field):
            problems.append(f"--set {text}: expected STAGE.FIELD=VALUE")
            continue
        found.setdefault(stage, {})[field] = _value(value)
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, lists), else the text as it stands."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read_file(file: Path) -> Overrides:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"--settings {file}: no such file") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--settings {file}: {error}") from None
    wrong = [key for key, value in found.items() if not isinstance(value, dict)]
    if wrong:
        raise SettingsError(f"--settings {file}: expected a table of settings a stage, found {', '.join(wrong)}")
    return dict(found)
