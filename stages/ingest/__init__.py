"""Ingest: find files, archives' members and records, and say what each is, where from, and under which licence."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator

from schemas.corpus import Dropped, SourceFile
from stages.base import Stage, Strings
from stages.tables import Outputs, Reader

DEMO = "examples/corpus"


class Ingest(Stage):
    """Find the files of a corpus: PDF, JSON Lines, Parquet, text, Markdown, JATS XML, in folders and archives."""

    name = "ingest"
    undivided = "exact copies are found by looking at all files"
    outputs = {"sources": SourceFile, "dropped": Dropped}
    located = frozenset({"paths"})

    paths: Annotated[Strings, Field(min_length=1, validate_default=True)] = (DEMO,)
    """Files and folders; a relative one is taken from the working directory."""
    include: Strings = ("*",)
    """Patterns (`*.pdf`, `2024/*`) on the name or on the path below its root; a file must match one."""
    exclude: Strings = ()
    """Patterns of files to leave out, wherever `include` admits them."""
    licence: Annotated[str, Field(min_length=1)] | None = None
    """The licence of whatever says none itself, as an SPDX identifier."""
    max_member_bytes: Annotated[int, Field(ge=1)] = 2 << 30
    """A larger member of an archive is dropped."""
    max_record_bytes: Annotated[int, Field(ge=1)] = 64 << 20
    """A longer line of JSON Lines is dropped."""
    max_ratio: Annotated[float, Field(gt=1)] = 250.0
    """An archive that unpacks to more than this many times its size is a bomb: zeros give 1000, JSON Lines 20."""

    @field_validator("paths")
    @classmethod
    def _absolute(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(os.path.abspath(os.path.expanduser(p)) for p in paths)  # noqa: PTH100, PTH111 - no link is resolved

    def external(self) -> str:
        """A digest of the names, sizes and times of all files under `paths` that the patterns admit."""
        from stages.ingest.listing import digest

        return digest(self.paths, self.include, self.exclude)

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:  # noqa: ARG002 - has none
        """List every path and write a row for each thing found."""
        from stages.ingest.walk import ingest

        ingest(self, outputs)
