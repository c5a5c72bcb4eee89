"""What the corpus became: files found, documents and pages, duplicates, and whose tokens under which licence."""

from typing import Any

from schemas.corpus import Allotment, Document, Dropped, Duplicate, SimilarityCount, SimilarityExample, SourceFile
from schemas.tokens import TokenizedDocument, Tokenizer
from workflows.report.tables import Tables

MAX_EXAMPLES = 5
MAX_SOURCES = 15
HISTOGRAM_BINS = 24
MIN_COSINE = 0.7
UNKNOWN = "unknown"

Rows = list[dict[str, Any]]


def drop_examples(tables: Tables) -> Rows:
    """Up to five dropped rows for each node and reason, in path order, and how many there are."""
    if not tables.has(Dropped):
        return []
    return tables.rows(
        """
        SELECT node, reason, path, left(detail, 400) AS detail, left(row_id, 80) AS row_id,
            count(*) OVER (PARTITION BY node, reason) AS num_rows,
            row_number() OVER (PARTITION BY node, reason ORDER BY path, row_id, detail) AS place
        FROM Dropped
        QUALIFY place <= ?
        ORDER BY node, num_rows DESC, reason, place
        """,
        [MAX_EXAMPLES],
    )


def found(tables: Tables) -> Rows:
    """Files and records found, by media type and licence."""
    if not tables.has(SourceFile):
        return []
    return tables.rows(
        """
        SELECT media_type, coalesce(licence, ?) AS licence, count(*) AS num_files
        FROM SourceFile GROUP BY ALL ORDER BY num_files DESC, media_type, licence
        """,
        [UNKNOWN],
    )


def allotment(tables: Tables) -> Rows:
    """Each shard's part of parse's budget, and what was drawn of the shard to find it."""
    if not tables.has(Allotment):
        return []
    return tables.rows(
        """
        SELECT shard, part, if(right(budget, 1) = '%', 'pages', 's') AS unit, num_documents, num_drawn, num_pages, cost
        FROM Allotment ORDER BY node, shard
        """
    )


def documents(tables: Tables) -> Rows:
    """Documents and pages that each node passed on."""
    if not tables.has(Document):
        return []
    return tables.rows(
        """
        SELECT node, count(*) AS num_documents, sum(len(pages))::BIGINT AS num_pages
        FROM Document GROUP BY node ORDER BY node
        """
    )


def pages(tables: Tables) -> Rows:
    """Pages by origin and parser; `by_node` counts them for each node that passed documents on."""
    if not tables.has(Document):
        return []
    counted = tables.rows(
        """
        SELECT node, page.origin AS origin, page.parser AS parser, count(*) AS num_pages
        FROM (SELECT node, unnest(pages) AS page FROM Document)
        GROUP BY ALL ORDER BY origin, parser, node
        """
    )
    kinds: dict[tuple[str, str], dict[str, Any]] = {}
    for r in counted:
        kind = kinds.setdefault(
            (r["origin"], r["parser"]), {"origin": r["origin"], "parser": r["parser"], "by_node": {}}
        )
        kind["by_node"][r["node"]] = r["num_pages"]
    return list(kinds.values())


def duplicates(tables: Tables) -> Rows:
    """Documents that repeat another, by the way they were found."""
    if not tables.has(Duplicate):
        return []
    return tables.rows(
        """
        SELECT method, count(*) AS num_documents, count("of") AS num_known, max(num_bands) AS most_bands
        FROM Duplicate GROUP BY method ORDER BY method
        """
    )


def alike(tables: Tables) -> dict[str, Any] | None:
    """What a comparison of meanings saw: documents by cosine to their nearest, by source, and pairs to judge by eye."""
    if not tables.has(SimilarityCount) or not (bins := _similarity_bins(tables)):
        return None
    sources = tables.rows(
        """
        SELECT source AS name, sum(num_documents)::BIGINT AS num_documents, sum(num_removed)::BIGINT AS num_removed
        FROM SimilarityCount GROUP BY source ORDER BY num_removed DESC, num_documents DESC, name
        """
    )
    return {"bins": bins, "sources": sources[:MAX_SOURCES], "num_sources": len(sources), "pairs": _pairs(tables)}


def _similarity_bins(tables: Tables) -> Rows:
    """Documents by cosine to the nearest other one, nearest first; what lies under `MIN_COSINE` is one line."""
    return tables.rows(
        """
        SELECT if(low < ?, 0, low) AS low, max(if(low < ?, ?, high)) AS high,
            sum(num_documents)::BIGINT AS num_documents, sum(num_removed)::BIGINT AS num_removed
        FROM SimilarityCount GROUP BY 1 ORDER BY 1 DESC
        """,
        [MIN_COSINE - 1e-6] * 2 + [MIN_COSINE],
    )


def _pairs(tables: Tables) -> Rows:
    """Two documents a pair; one whose other half was taken down is left out."""
    if not tables.has(SimilarityExample):
        return []
    found: dict[tuple[int, int], Rows] = {}
    for row in tables.rows("SELECT * FROM SimilarityExample"):
        found.setdefault((row["node"], row["pair"]), []).append(row)
    whole = [pair for _, pair in sorted(found.items()) if len(pair) == 2]
    return [{"score": one["score"], "removed": one["removed"], "documents": [one, other]} for one, other in whole]


def tokens(tables: Tables) -> dict[str, Any] | None:
    """Tokens by licence, source and split; tokens a document; the tokenizer."""
    if not tables.has(TokenizedDocument):
        return None
    totals = tables.rows(
        """
        SELECT sum(num_tokens)::BIGINT AS num_tokens, count(*) AS num_documents, sum(num_bytes)::BIGINT AS num_bytes
        FROM TokenizedDocument
        """
    )
    if not totals or not totals[0]["num_documents"]:
        return None
    known = tables.has(Tokenizer)
    vocabulary = tables.rows("SELECT DISTINCT vocab_size FROM Tokenizer ORDER BY vocab_size") if known else []
    return {
        **totals[0],
        "vocab_sizes": [r["vocab_size"] for r in vocabulary],
        "licences": _by(tables, "licence"),
        "sources": _by(tables, "source")[:MAX_SOURCES],
        "num_sources": len(_by(tables, "source")),
        "lengths": _lengths(tables),
        "histogram": _histogram(tables),
    }


def _by(tables: Tables, column: str) -> Rows:
    return tables.rows(
        f"""
        SELECT coalesce({column}, ?) AS name, sum(num_tokens)::BIGINT AS num_tokens, count(*) AS num_documents,
            coalesce(sum(num_tokens) FILTER (split = 'train'), 0)::BIGINT AS train_tokens,
            count(*) FILTER (split = 'train') AS train_documents,
            coalesce(sum(num_tokens) FILTER (split = 'validation'), 0)::BIGINT AS validation_tokens,
            count(*) FILTER (split = 'validation') AS validation_documents
        FROM TokenizedDocument GROUP BY 1 ORDER BY num_tokens DESC, name
        """,  # noqa: S608 - `column` is one of the two names above
        [UNKNOWN],
    )


def _lengths(tables: Tables) -> Rows:
    return tables.rows(
        """
        SELECT split, count(*) AS num_documents, sum(num_tokens)::BIGINT AS num_tokens, min(num_tokens) AS least,
            quantile_disc(num_tokens, 0.25) AS lower, quantile_disc(num_tokens, 0.5) AS median,
            quantile_disc(num_tokens, 0.75) AS upper, max(num_tokens) AS most, avg(num_tokens) AS mean,
            sum(num_bytes) / sum(num_tokens) AS bytes_per_token
        FROM TokenizedDocument GROUP BY split ORDER BY split
        """
    )


def _histogram(tables: Tables) -> Rows:
    """Documents by their tokens, in bins of equal width."""
    return tables.rows(
        """
        WITH ends AS (SELECT min(num_tokens) AS low, max(num_tokens) + 1 AS high FROM TokenizedDocument)
        SELECT low + (high - low) * slot / ?::DOUBLE AS start, low + (high - low) * (slot + 1) / ?::DOUBLE AS stop,
            count(num_tokens) AS num_documents
        FROM ends, range(?) AS slots(slot)
        LEFT JOIN TokenizedDocument ON floor((num_tokens - low) * ?::DOUBLE / (high - low)) = slot
        GROUP BY ALL ORDER BY start
        """,
        [HISTOGRAM_BINS] * 4,
    )
