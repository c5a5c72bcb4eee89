"""Copies of one work share a name, and different works do not."""

import pyarrow as pa
import pytest

from stages.sketch.works import folded_titles, names, of_doi, of_head, of_path


@pytest.mark.parametrize(
    ("doi", "name"),
    [
        ("10.1128/genomeA.00428-18", "doi:10.1128/genomea.00428-18"),
        ("https://doi.org/10.1128/genomeA.00428-18", "doi:10.1128/genomea.00428-18"),
        ("http://dx.doi.org/10.1128/GENOMEA.00428-18.", "doi:10.1128/genomea.00428-18"),
        ("doi: 10.1002/(SICI)1097-0258(19980815)17:15%2F16", "doi:10.1002/(sici)1097-0258(19980815)17:15/16"),
        ("10.48550/arXiv.2101.00001", "arxiv:2101.00001"),
        ("10.48550/ARXIV.2101.00001v3", "arxiv:2101.00001"),
        ("10.48550/arXiv.hep-th/9901001", "arxiv:hep-th/9901001"),
        ("10.1101/2020.01.30.927871v2", "doi:10.1101/2020.01.30.927871"),
        ("10.21203/rs.3.rs-90045/v1", "doi:10.21203/rs.3.rs-90045"),
        ("10.5555/protocol.v2", "doi:10.5555/protocol.v2"),  # a journal's own, not a preprint's version
    ],
)
def test_dois(doi: str, name: str) -> None:
    """A DOI has one name, whoever wrote it down; an arXiv DOI is the arXiv's."""
    assert of_doi(doi) == [name]


@pytest.mark.parametrize("doi", [None, "", "n/a", "10.1128", "PMC123", "https://doi.org/"])
def test_what_is_no_doi(doi: str | None) -> None:
    """What does not have a DOI's form names nothing."""
    assert of_doi(doi) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b/2101.00001v2.pdf", ["arxiv:2101.00001"]),
        ("0704.0001.pdf", ["arxiv:0704.0001"]),
        ("arXiv_1412.1234.tex", ["arxiv:1412.1234"]),
        ("2113.00001.pdf", []),  # no such month
        ("2101.0001.pdf", []),  # five digits since 2015
        ("0601.0001.pdf", []),  # the other kind of number until March 2007
        ("x2101.00001.pdf", []),
        ("2101.00001/supplement.pdf", []),
        ("", []),
    ],
)
def test_paths(path: str, expected: list[str]) -> None:
    """A file that is called by an arXiv number has it; folders and other numbers do not count."""
    assert of_path(path) == expected


def test_the_stamp_on_the_first_page() -> None:
    """The stamp names the paper itself; a paper that it refers to is not named."""
    assert of_head("Title\n\narXiv:2101.00001v2  [cs.LG]  3 Jan 2021\nText") == ["arxiv:2101.00001"]
    assert of_head("arXiv:hep-th/9901001v3 [hep-th] 12 Feb 1999") == ["arxiv:hep-th/9901001"]
    assert of_head("We follow Vaswani et al. (arXiv:1706.03762v5 [cs.CL]) and arXiv:1810.04805.") == []
    assert of_head("") == []


def test_titles() -> None:
    """Case, marks, ligatures and tags in a title do not matter; a title of few words names nothing."""
    one, two, short, none = folded_titles(
        ["Eﬃcient <i>De-Novo</i> Assembly: a Survey", "EFFICIENT DE-NOVO ASSEMBLY — A SURVEY", "Editorial", ""]
    )
    assert one != two  # tags are for `names` to take out
    assert two == ["title:efficient de novo assembly a survey"]
    assert short == none == []


def test_rows_of_one_work() -> None:
    """A preprint, its article and its repository copy share a name; each row's names are sorted and single."""
    rows = pa.record_batch(
        {
            "doi": ["10.48550/arXiv.2101.00001", None, "10.1000/X.1", None],
            "path": ["x.pdf", "2101.00001v1.pdf", "y.pdf", "z.pdf"],
            "title": [None, "A <b>very</b> nice little title", "A very nice, little title", None],
            "text": ["text", "arXiv:2101.00001v1 [q-bio.QM] 1 Jan 2021", "text", ""],
        },
        schema=pa.schema([(n, pa.string()) for n in ("doi", "path", "title", "text")]),
    )
    assert names(rows) == [
        ["arxiv:2101.00001"],
        ["arxiv:2101.00001", "title:a very nice little title"],
        ["doi:10.1000/x.1", "title:a very nice little title"],
        [],
    ]
