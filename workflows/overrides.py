"""Settings and numbers of shards by stage: `--set dedup.threshold=0.7`, `--settings FILE`, `--shards tokenize=64`.

A stage that a recipe has as an option is there when anything is said of it: a setting, its table in the file, or
`--set STAGE=on`.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.base import SettingsError

Overrides = dict[str, dict[str, Any]]
SWITCH = {"on": True, "off": False}


def read_overrides(assignments: Sequence[str], file: Path | None) -> Overrides:
    """Settings by stage name; `--set` wins over the file. `SettingsError` lists all that cannot be read."""
    found = _read_file(file) if file else {}
    problems = []
    for text in assignments:
        where, equals, value = text.partition("=")
        stage, dot, field = where.partition(".")
        if stage and equals and not dot and value in SWITCH:
            _switch(found, stage, on=SWITCH[value])
        elif not (equals and dot and stage and field):
            problems.append(f"--set {text}: expected STAGE.FIELD=VALUE, or STAGE=on for a stage that is an option")
        else:
            found.setdefault(stage, {})[field] = _value(value)
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def read_shards(assignments: Sequence[str]) -> dict[str, int]:
    """Numbers of shards by stage name, from `STAGE=N`; `SettingsError` lists all that cannot be read."""
    found, problems = dict[str, int](), []
    for text in assignments:
        stage, _, count = text.partition("=")
        if stage and count.isdecimal() and int(count) > 0:
            found[stage] = int(count)
        else:
            problems.append(f"--shards {text}: expected STAGE=N, with N from 1")
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _switch(found: Overrides, stage: str, *, on: bool) -> None:
    if on:
        found.setdefault(stage, {})
    else:
        found.pop(stage, None)


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
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SettingsError(f"--settings {file}: {why}; expected a TOML or JSON file") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise SettingsError(f"--settings {file}: not {kind}: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"--settings {file}: expected a table of settings a stage, found a {type(found).__name__}")
    wrong = [key for key, value in found.items() if not isinstance(value, dict)]
    if wrong:
        raise SettingsError(f"--settings {file}: expected a table of settings a stage, found {', '.join(wrong)}")
    return dict(found)
