"""Which copy stays: each line of the table, and that a line above outweighs all below."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.dedup.survivor import freedom, rank, version

BASE: dict[str, Any] = {
    "quality": 0.9,
    "licence": "CC-BY-NC-4.0",
    "works": ["title:a study of the thing"],
    "num_shingles": 1000,
    "path": "m.pdf",
    "doc_id": "5" * 64,
}
BETTER: list[dict[str, Any]] = [
    {"quality": 1.0},
    {"licence": "CC-BY-4.0"},
    {"works": ["doi:10.1000/x"]},
    {"num_shingles": 1001},
    {"path": "a.pdf"},
    {"doc_id": "4" * 64},
]
WORSE: list[dict[str, Any]] = [
    {"quality": 0.7},
    {"licence": None},
    {"works": ["arxiv:2101.00001"]},
    {"num_shingles": 999},
    {"path": "z.pdf"},
    {"doc_id": "6" * 64},
]


@pytest.mark.parametrize("line", range(len(BETTER)))
def test_a_line_outweighs_all_below(line: int) -> None:
    """A document that is better in one line stays, however much worse it is in those below."""
    below = {k: v for worse in WORSE[line + 1 :] for k, v in worse.items()}
    assert rank({**BASE, **BETTER[line], **below}) < rank(BASE)
    above = {k: v for better in BETTER[line + 1 :] for k, v in better.items()}
    assert rank({**BASE, **WORSE[line], **above}) > rank(BASE)


def test_quality_counts_in_tenths() -> None:
    """A hundredth of legibility does not outweigh a licence."""
    assert rank({**BASE, "quality": 0.96, "licence": "CC0-1.0"}) < rank({**BASE, "quality": 0.99})


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC-BY-4.0", 2),
        ("cc by 4.0", 2),
        ("CC0-1.0", 2),
        ("CC-BY-SA-3.0", 2),
        ("Apache-2.0", 2),
        ("CC-PDM-1.0", 2),
        ("CC-BY-NC-4.0", 1),
        ("CC-BY-ND-4.0", 1),
        ("CC-BY-NC-SA-4.0", 1),
        ("Elsevier user licence", 1),
        ("", 0),
        (None, 0),
    ],
)
def test_freedom(licence: str | None, expected: int) -> None:
    """Open licences come before others, and others before none; NC and ND are not open."""
    assert freedom(licence) == expected


@pytest.mark.parametrize(
    ("works", "expected"),
    [
        (["doi:10.1038/s41586-020-1"], 2),
        (["arxiv:2101.00001", "doi:10.1038/s41586-020-1"], 2),
        (["doi:10.1101/2020.01.01.000001"], 0),
        (["doi:10.1101/036103"], 0),
        (["doi:10.1101/gr.176677.114"], 2),
        (["arxiv:2101.00001", "title:of some work here"], 0),
        (["title:of some work here"], 1),
        ([], 1),
    ],
)
def test_version(works: list[str], expected: int) -> None:
    """A journal's DOI makes it published, arXiv or a preprint server's DOI alone a preprint."""
    assert version(works) == expected


@given(st.lists(st.fixed_dictionaries({"quality": st.floats(0, 1), "num_shingles": st.integers(0, 5)}), min_size=1))
def test_the_choice_does_not_depend_on_the_order(facts: list[dict[str, Any]]) -> None:
    """The least of the ranks is the same from either end: no two documents rank alike."""
    rows = [{**BASE, **f, "doc_id": f"{i:064x}"} for i, f in enumerate(facts)]
    assert min(rows, key=rank) == min(reversed(rows), key=rank)
    assert len({rank(r) for r in rows}) == len(rows)
