"""Characters of a text are told apart by kind: on labelled examples, on records, on papers."""

import csv
import gzip
import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.tokens import TextKind
from stages.stream.kinds import spans

DATA = Path(__file__).parents[4] / "shared" / "data"

# Each example is a text in parts, the kind of each part before it; a part begins with the space before it.
LABELLED: list[list[tuple[TextKind, str]]] = [
    [("prose", "The sample was held at"), ("number", " 1,250.5"), ("prose", " K for"), ("number", " 10"), ("prose", " min.")],
    [("prose", "About"), ("number", " −3.2e-4"), ("prose", " or"), ("number", " 1.5 × 10⁻³"), ("prose", " mol, p <"), ("number", " 0.05")],
    [("prose", "Fe2O3, IL-6, COVID-19, H1N1, the 3rd and 16S are words; ranges are"), ("number", " 10"), ("prose", "–"), ("number", "20"), ("prose", ".")],
    [("prose", "It costs $"), ("number", "5"), ("prose", " and then $"), ("number", "10"), ("prose", ", by 2.3.1 of the rules.")],
    [("prose", "Let"), ("latex", " $E = mc^2$"), ("prose", " and"), ("latex", " $x$"), ("prose", " with"), ("latex", r" \(a_i\)"), ("prose", " be.")],
    [("prose", "So\n"), ("latex", r"$$ \int_0^1 x\,dx = \frac{1}{2} $$"), ("prose", "\nholds.")],
    [("prose", "As\n"), ("latex", "\\begin{align*}\na &= b \\\\\nc &= d\n\\end{align*}"), ("prose", "\nsays")],
    [("prose", "See"), ("latex", r" \cite{smith2020}"), ("prose", " and"), ("latex", r" \textbf{this \emph{one}}"), ("prose", " too.")],
    [("prose", "Aspirin ("), ("smiles", "CC(=O)Oc1ccccc1C(=O)O"), ("prose", ") and ethanol; benzene is"), ("smiles", " c1ccccc1"), ("prose", ".")],
    [("prose", "The C/N ratio, CO2, (SNP), NO/NO2 and the C=O bond are words.")],
    [("prose", "Run\n"), ("code", "```python\nfor i in range(10):\n    print(i)\n```\n"), ("prose", "and look.")],
    [("prose", "The flag"), ("code", " `--out`"), ("prose", " is needed.")],
    [("code", "import os\n\n# Where the files are.\ndef main(path):\n    files = os.listdir(path)\n    return files\n"), ("prose", "\nThat was it.")],
    [("code", "#include <stdio.h>\nint main(void) {\n  int x = 3;\n  return x;\n}\n")],
    [("code", "x <- c(1, 2, 3)\ny <- mean(x)\n"), ("prose", "The mean is then given to the next step.")],
    [("code", '{"name": "benzene", "smiles": "'), ("smiles", "c1ccccc1"), ("code", '", "mass": 78.11}\n')],
    [("table", "| K | GPa |\n|---|---|\n| 300 | 1.5 |\n"), ("prose", "\nAbove it melts.")],
    [("table", "id,name,value\n1,iron,7.87\n2,copper,8.96\n")],
    [("table", 'id,name,value\n1,"iron, pure",7.87\n')],
    [("table", "T\tp\n300\t1.5\n"), ("prose", "is short.")],
    [("prose", "Red, green, and blue.\nFast, cheap, and good.\n")],
    [("prose", "We see that:\n- genes of the first family are lost;\n- genes of the second family (all of them) stay;\n")],
    [("prose", "p = "), ("number", "0.05"), ("prose", " was the limit that we took for all of the tests.")],
]  # fmt: skip


def tiles(parts: list[tuple[TextKind, str]]) -> list[tuple[str, TextKind]]:
    """Say of each character of a labelled text what it is."""
    return [(character, kind) for kind, part in parts for character in part]


def found(text: str) -> list[tuple[str, TextKind]]:
    """Say of each character of a text what the rules take it for."""
    return [(character, kind) for start, end, kind in spans(text) for character in text[start:end]]


def share(text: str, kind: TextKind) -> float:
    """Share of a text's characters that are of a kind."""
    return sum(end - start for start, end, k in spans(text) if k == kind) / len(text)


@pytest.mark.parametrize("parts", LABELLED, ids=lambda parts: parts[0][1][:20])
def test_labelled(parts: list[tuple[TextKind, str]]) -> None:
    """Each labelled text is cut as its labels say; a space at a seam may be on either side."""
    text = "".join(part for _, part in parts)
    wrong = [(ours, theirs) for ours, theirs in zip(found(text), tiles(parts), strict=True) if ours != theirs]
    assert [pair for pair in wrong if not pair[0][0].isspace()] == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab C=(1)c[]$\\{},|\n\t`;:#.\"'+-≤", max_size=120))
def test_spans_tile(text: str) -> None:
    """Spans go from start to end without gaps or overlaps, and neighbours differ, whatever the text."""
    found_ = spans(text)
    assert "".join(text[start:end] for start, end, _ in found_) == text
    assert all(a.end == b.start and a.kind != b.kind for a, b in pairwise(found_))
    assert all(span.end > span.start for span in found_)


def test_hostile_text_ends() -> None:
    """Text made to make a regular expression try everything is read in time that goes with its length."""
    for part in (
        "\\a{",
        "$a",
        "f(",
        "((((",
        "`",
        "1,",
        "\\begin{a}",
        "|",
        "```\n",
        "a = ",
        "{" * 9,
        '"a":',
        "C1(",
        "[C",
    ):
        assert spans(part * 4_000)[-1].end == len(part) * 4_000


def test_smiles_of_records_in_sentences() -> None:
    """In sentences on real compounds 97 % of SMILES are found exactly, and nothing else is taken for one."""
    if not DATA.exists():
        pytest.skip("the shared data are not on this machine")
    compounds = [json.loads(line) for line in (DATA / "records" / "compounds-600.jsonl").read_text().splitlines()]
    hits, wrong = 0, []
    for c in compounds:
        text = f"The compound {c['name']} ({c['formula']}), written as {c['smiles']}, is {c['iupac_name']} in full."
        words = [text[start:end].strip() for start, end, kind in spans(text) if kind == "smiles"]
        hits += c["smiles"] in words
        wrong += [w for w in words if w != c["smiles"]]
    assert wrong == []
    assert hits >= 0.97 * len(compounds)


@pytest.mark.parametrize("name", ["bvbrc-genomes-80.csv", "mp-transport-1000.csv"])
def test_csv_is_table(name: str) -> None:
    """Every line of the CSV files is a table's, but for SMILES that might stand in one."""
    if not DATA.exists():
        pytest.skip("the shared data are not on this machine")
    text = (DATA / "records" / name).read_text()
    assert len(list(csv.reader(io.StringIO(text)))) >= 80
    assert share(text, "table") > 0.999


def test_json_is_code() -> None:
    """Records in JSON, one a line or spread over lines, are code, and the SMILES in them SMILES."""
    if not DATA.exists():
        pytest.skip("the shared data are not on this machine")
    assert share((DATA / "records" / "elements.json").read_text(), "code") > 0.95
    lines = (DATA / "records" / "compounds-600.jsonl").read_text()
    kinds = Counter({kind: share(lines, kind) for kind in ("code", "smiles")})
    assert kinds["smiles"] > 0.03
    assert kinds.total() > 0.999


def test_python_is_code() -> None:
    """Source files of this project are code but for their docstrings: four fifths, and no prose runs through it."""
    source = (Path(__file__).parents[3] / "stages" / "tables.py").read_text()
    assert share(source, "code") > 0.8


def test_papers_in_markdown() -> None:
    """On the gold texts, tables are the lines with pipes and nothing else; there is no code and no SMILES."""
    files = sorted((DATA / "pdf-gold").glob("*/*.gold.md"))
    if not files:
        pytest.skip("the gold texts are not on this machine")
    for file in files:
        text = file.read_text()
        tables = "".join(text[start:end] for start, end, kind in spans(text) if kind == "table")
        expected = [line for line in text.splitlines() if line.startswith("|") and line.rstrip().endswith("|")]
        assert [line for line in tables.splitlines() if line] == expected
        assert not {"code", "smiles"} & {kind for *_, kind in spans(text)}, file.name
        displays = [line for line in text.splitlines() if line.startswith("$$ ") and line.endswith(" $$")]
        latex = "".join(text[start:end] for start, end, kind in spans(text) if kind == "latex")
        assert all(display in latex for display in displays)


@pytest.mark.slow
def test_smiles_in_papers() -> None:
    """In 260 real papers, 1.7 million words of biology, no word is taken for SMILES and under 0.1 % for code."""
    file = DATA / "corpora" / "pmc-ccby-260.jsonl.gz"
    if not file.exists():
        pytest.skip("the set of real papers is not on this machine")
    counts: Counter[str] = Counter()
    with gzip.open(file, "rt") as stream:
        for line in stream:
            for start, end, kind in spans(json.loads(line)["text"]):
                counts[kind] += end - start
    assert counts["smiles"] == 0
    assert counts["code"] < 0.001 * counts.total()
