"""Which document a person means, and what became of it: every document and every drop on the way to the token files."""

from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from schemas.corpus import Document, Dropped
from schemas.manifest import lineage
from schemas.table import Row
from schemas.tokens import TokenizedDocument
from stages.base import SettingsError
from stages.tables import Reader
from workflows.trace.documents import connect, relation

MAX_SHOWN, MAX_NEAR = 8, 3  # of the documents that a word fits, and of those that are near it
MANY = "more than one document fits; give more of its id, or the whole path:"
NONE = "no document has this id, DOI or path; the nearest:"
DOI_PREFIXES = ("https://doi.org/", "http://doi.org/", "https://dx.doi.org/", "doi:")
NO_DROP = "NULL AS stage, NULL AS reason, NULL AS detail"
EMPTY = "SELECT '' AS doc_id, '' AS path, '' AS title, '' AS doi, '' AS stage, '' AS reason, '' AS detail WHERE false"


class Name(NamedTuple):
    """A document as people know it."""

    doc_id: str
    path: str | None
    title: str | None
    doi: str | None

    def words(self) -> str:
        """A line that tells it from others."""
        known = (self.doc_id[:12], self.path, self.title, self.doi and f"doi {self.doi}")
        return "  ".join(word for word in known if word)


class Drop(NamedTuple):
    """Where a document ended, and why."""

    stage: str
    reason: str
    detail: str


class Names:
    """Documents and drops of all tables from which the output in `folder` was made."""

    def __init__(self, folder: Path) -> None:
        self._connection = connect()
        found = [self._connection.sql(EMPTY)]
        for base, manifest in lineage(folder):
            for name, output in manifest.outputs.items():
                if output.contract == Document.contract():
                    columns = f"doc_id, path, title, doi, {NO_DROP}"
                    found.append(self._rows(base / name, Document, columns))
                elif output.contract == TokenizedDocument.contract():  # all there is where token files were given
                    columns = f"doc_id, NULL AS path, NULL AS title, NULL AS doi, {NO_DROP}"
                    found.append(self._rows(base / name, TokenizedDocument, columns))
                elif output.contract == Dropped.contract():
                    stage = manifest.stage.replace("'", "''")
                    columns = f"row_id, path, NULL, NULL, '{stage}', reason, detail"
                    found.append(self._rows(base / name, Dropped, columns))
        reduce(lambda one, other: one.union(other), found).create_view("found")

    def find(self, word: str) -> Name:
        """The one document of this id (or its beginning), DOI or path (or its end); `SettingsError` if it is not one."""
        doi = word.lower()
        for prefix in DOI_PREFIXES:
            doi = doi.removeprefix(prefix)
        names = self._names(
            "starts_with(doc_id, ?) OR lower(doi) = ? OR path = ? OR ends_with(path, ?)",
            [word.lower(), doi, word, f"/{word}"],
        )
        exact = [n for n in names if word in (n.doc_id, n.path)] if len(names) > 1 else names
        if len(exact) == 1:
            return exact[0]
        problem = f"--document {word}: " + (MANY if names else NONE)
        shown = names[:MAX_SHOWN] or self._near(word)
        raise SettingsError("\n".join([problem, *(f"  {n.words()}" for n in shown)]))

    def known(self, doc_ids: list[str]) -> dict[str, Name]:
        """Names of documents by id."""
        return {n.doc_id: n for n in self._names("list_contains(?, doc_id)", [doc_ids], limit=len(doc_ids))}

    def drops(self, doc_id: str) -> list[Drop]:
        """Where a document was dropped."""
        sql = "SELECT DISTINCT stage, reason, detail FROM found WHERE doc_id = ? AND reason IS NOT NULL"
        return [Drop(*row) for row in self._connection.execute(sql, [doc_id]).fetchall()]

    def _near(self, word: str) -> list[Name]:
        """The documents whose id, DOI, title or file name is most like a word."""
        cursor = self._connection.execute(
            """
            SELECT doc_id, any_value(path), any_value(title), any_value(doi) FROM found GROUP BY doc_id
            ORDER BY max(greatest(
                jaro_winkler_similarity(lower($1), doc_id[:length($1)]),
                jaro_winkler_similarity(lower($1), lower(coalesce(doi, ''))),
                jaro_winkler_similarity(lower($1), lower(coalesce(title, ''))),
                jaro_winkler_similarity(lower($1), lower(split_part(coalesce(path, ''), '/', -1)))
            )) DESC, doc_id LIMIT $2
            """,
            [word, MAX_NEAR],
        )
        return [Name(*row) for row in cursor.fetchall()]

    def _rows(self, folder: Path, row: type[Row], columns: str) -> Any:
        return relation(self._connection, Reader(folder, row)).project(columns)

    def _names(self, condition: str, parameters: list[Any], limit: int = MAX_SHOWN + 1) -> list[Name]:
        cursor = self._connection.execute(
            f"""
            SELECT doc_id, any_value(path), any_value(title), any_value(doi) FROM found
            WHERE {condition} GROUP BY doc_id ORDER BY 2, 1 LIMIT ?
            """,  # noqa: S608 - the conditions above
            [*parameters, limit],
        )
        return [Name(*row) for row in cursor.fetchall()]
