"""The page as a whole: what it holds, that it is safe, and that it survives whatever a run left behind."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from schemas.evaluation import Sample, Score
from schemas.manifest import NAME, Manifest, Output
from schemas.training import TrainStep
from stages.base import SettingsError, Stage
from stages.tables import Outputs
from tests.workflows.report.fake_run import HOSTILE, FakeRun, Node, evaluated, life_cycle, pretraining
from workflows.base import Run
from workflows.pretrain import workflow
from workflows.report import write_report
from workflows.report.page import render

VOID = {"meta", "br", "link", "img", "input", "hr"}
APART = {"td", "th", "dt", "dd", "li", "p", "div", "text", "title"}  # elements whose words do not run on
MAX_BYTES = 2_000_000
SECTIONS = ("graph", "stages", "dropped", "corpus", "stream", "training", "evaluation", "endpoint", "provenance")


class Page(HTMLParser):
    """Elements with their attributes and text, and whether every tag is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element, and remember that it is open."""
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag in APART:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, or note that it is another."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        """Collect the words."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of all elements of this name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        """All ids."""
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())


def sections(text: str) -> list[str]:
    """Ids of the sections that are there, in order."""
    return re.findall(r'<section id="([\w-]+)"', text)


def test_same_outputs_same_bytes(done_run: FakeRun, page: str, tmp_path: Path) -> None:
    """Written again, the page is the same to the byte, charts included, and no temporary file is left beside it."""
    file = tmp_path / "report.html"
    assert write_report(done_run.nodes, file, "pretrain") == file
    assert file.read_text(encoding="utf-8") == page
    assert [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_size_is_under_the_limit(page: str) -> None:
    """A finished run's page is under 2 MB."""
    assert len(page.encode()) < MAX_BYTES


def test_all_sections_of_a_finished_run(page: str) -> None:
    """Every kind of table has its section, in the order of the life cycle."""
    assert tuple(sections(page)) == SECTIONS


def test_html_is_well_formed(page: str) -> None:
    """Every element that is opened is closed, in the right order."""
    parsed = Page(page)
    assert parsed.wrong == []
    assert parsed.open == []


def test_nothing_is_loaded_or_run(page: str) -> None:
    """No element loads a resource, no script runs, and a policy in the page forbids both."""
    parsed = Page(page)
    assert not [tag for tag, _ in parsed.elements if tag in {"script", "link", "img", "iframe", "object", "embed"}]
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on") or a == "src"]
    references = [a.get("href", "#") for _, a in parsed.elements]
    assert [r for r in references if not r.startswith("#")] == []
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []
    policies = [m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_links_lead_somewhere(page: str) -> None:
    """No id occurs twice, and every reference inside the page has its target."""
    parsed = Page(page)
    ids = parsed.ids()
    assert [i for i, n in Counter(ids).items() if n > 1] == []
    wanted = {a["href"][1:] for _, a in parsed.elements if "href" in a}
    wanted |= {a["aria-labelledby"] for _, a in parsed.elements if "aria-labelledby" in a}
    wanted |= set(re.findall(r"url\(#([\w-]+)\)", page))
    assert wanted - set(ids) == set()


def test_structure_for_assistive_technology(page: str) -> None:
    """One first heading, no heading level skipped, scopes on table headers, words for every drawing."""
    parsed = Page(page)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [a for a in parsed.all("th") if a.get("scope") not in {"col", "row"}] == []
    assert [a for a in parsed.all("svg") if not a.get("aria-label")] == []
    assert [a for a in parsed.all("div") if "scroll" in a.get("class", "") and not a.get("aria-label")] == []
    assert parsed.all("html") == [{"lang": "en"}]


def test_header_says_what_when_where(page: str, done_run: FakeRun) -> None:
    """Title, state, times, commit, host and total time of work stand in the header."""
    header = Page(page[: page.index("</header>")]).words
    manifests = [Manifest.read(n.path) for n in done_run.nodes]
    assert f"pretrain All {len(done_run.nodes)} stages are done." in header
    assert "Started 2026-11-25 09:30 UTC" in header
    assert manifests[0].git_commit[:12] in header
    assert "laptop-7" in header
    assert "8 min 44 s" in header
    assert round(sum(m.seconds for m in manifests)) == 8 * 60 + 44


def test_data_is_escaped(page: str) -> None:
    """A document path and a model's answer that look like HTML are shown as text."""
    assert "<script" not in page
    assert "<b>not</b>" not in page
    parsed = Page(page)
    assert HOSTILE in parsed.text
    assert "<b>not</b> more" in parsed.text


def test_hostile_names_everywhere(tmp_path: Path) -> None:
    """Markup, quotes and dollar signs in the title, a node's name, a model, a task or a prompt stay text."""
    evil = "\"><script>alert(1)</script>$x$ & '"

    class Exam(Stage):
        """Scores of another kind."""

        name = "exam"
        outputs = {"scores": Score, "samples": Sample}

    run = FakeRun(tmp_path)
    node = run.node(Exam(), evil)
    rows = evaluated(evil, 0.5)
    scores = [s.model_copy(update={"task": evil}) for s in rows["scores"]]
    samples = [s.model_copy(update={"prompt": evil}) for s in rows["samples"]]
    run.finish(node, 1.0, scores=scores, samples=samples)
    text = render(run.nodes, evil)
    parsed = Page(text)
    assert "<script" not in text
    assert parsed.wrong == []
    assert parsed.text.count(evil) >= 5
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]


def test_sections_follow_contracts_not_names(tmp_path: Path) -> None:
    """A stage and a table with names that nobody knows get the training section, because the contract says so."""

    class Distill(Stage):
        """Another way to train."""

        name = "distill"
        outputs = {"progress_of_it": TrainStep}

    run = FakeRun(tmp_path)
    run.finish(run.node(Distill(), "squeeze"), 5.0, progress_of_it=pretraining()["steps"])
    text = render(run.nodes, "distill")
    assert sections(text) == ["graph", "stages", "training", "provenance"]
    assert "Pretraining (squeeze)" in Page(text).words


def test_unknown_contract_version_is_not_shown(copied_run: dict[str, Node]) -> None:
    """Steps of another contract version are left out instead of misread."""
    node = copied_run["pretrain"]
    manifest = Manifest.read(node.path)
    outputs = manifest.outputs | {"steps": Output(contract="TrainStep@2", parts=manifest.outputs["steps"].parts)}
    manifest.model_copy(update={"outputs": outputs}).write(node.path)
    words = Page(render(list(copied_run.values()), "pretrain")).words
    assert "Supervised fine-tuning (posttrain) 60 steps" in words
    assert "300 steps, 1,228,800 tokens" not in words


def test_nothing_has_run(tmp_path: Path) -> None:
    """Before anything ran, the page shows the graph and the settings, and says that nothing is done."""
    run = life_cycle(tmp_path)
    text = render(run.nodes, "pretrain")
    words = Page(text).words
    assert sections(text) == ["graph", "stages", "provenance"]
    assert f"0 of {len(run.nodes)} stages are done. Missing: ingest (not started)" in words
    size = next(n.stage.settings()["vocab_size"] for n in run.nodes if n.name == "train_tokenizer")
    assert f"vocab_size {size}" in words


def test_missing_packages_are_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of the report, the error says which and how to install them."""
    monkeypatch.setattr("workflows.report.PACKAGES", ("jinja2", "no_such_package"))
    with pytest.raises(SettingsError, match=r"1 more package\(s\), no_such_package: pip install -e '\.\[report\]'"):
        write_report([], tmp_path / "report.html", "x")


def test_the_recipe_of_the_life_cycle(tmp_path: Path) -> None:
    """The nodes of the project's own recipe are what the report asks for; each has its box and its details."""
    run = Run(tmp_path)
    workflow(run)
    nodes = run.nodes
    file = write_report(nodes, tmp_path / "report.html", "pretrain")
    parsed = Page(file.read_text())
    boxes = [a for a in parsed.all("a") if a.get("class") == "undone"]
    assert [a["aria-label"] for a in boxes] == [f"{n.name}, not started" for n in nodes]
    assert {a["href"][1:] for a in boxes} <= set(parsed.ids())


def test_no_stages_at_all() -> None:
    """An empty recipe still makes a page."""
    assert "All 0 stages are done." in Page(render([], "nothing")).words


def test_a_partial_run_with_a_failure(copied_run: dict[str, Node]) -> None:
    """A stage that failed is named with the last line of its log; what was done is still shown."""
    for name in ("posttrain", "evaluate_base", "evaluate", "deploy"):
        (copied_run[name].path / NAME).unlink()
    for name, line in (("posttrain", "stages.posttrain: MemoryError: <4 GiB>"), ("evaluate_base", "step 3")):
        log = copied_run[name].path / "log" / "run.txt"
        log.parent.mkdir()
        log.write_text(f"Traceback\n{line}\n")
    text = render(list(copied_run.values()), "pretrain")
    words = Page(text).words
    assert sections(text) == ["graph", "stages", "dropped", "corpus", "stream", "training", "provenance"]
    assert f"{len(copied_run) - 4} of {len(copied_run)} stages are done." in words
    assert "posttrain (failed), evaluate_base (not finished), evaluate (not started), deploy (not started)." in words
    assert "posttrain, failed: stages.posttrain: MemoryError: <4 GiB>" in words
    assert "Pretraining (pretrain) 300 steps" in words


def test_a_damaged_manifest_is_shown_as_unreadable(copied_run: dict[str, Node]) -> None:
    """A manifest that is cut off is named as the problem and takes nothing else down."""
    file = copied_run["filter"].path / NAME
    file.write_text(file.read_text()[:200])
    words = Page(render(list(copied_run.values()), "pretrain")).words
    assert f"{len(copied_run) - 1} of {len(copied_run)} stages are done. Missing: filter (unreadable)." in words
    assert "Invalid JSON" in words


@pytest.mark.parametrize("damage", ["missing", "truncated", "page"])
def test_a_damaged_table_is_named(copied_run: dict[str, Node], damage: str) -> None:
    """A Parquet part that is gone, cut or overwritten in the middle is a note in the page; the rest is there."""
    manifest = Manifest.read(copied_run["pretrain"].path)
    part = copied_run["pretrain"].path / manifest.outputs["steps"].parts[0].path
    content = part.read_bytes()
    if damage == "missing":
        part.unlink()
    elif damage == "truncated":
        part.write_bytes(content[: len(content) // 2])
    else:
        part.write_bytes(content[:8] + b"\xff" * 4000 + content[4008:])
    text = render(list(copied_run.values()), "pretrain")
    words = Page(text).words
    assert "What went wrong" in words
    assert ("pretrain, table steps" if damage != "page" else "could not be read") in words
    assert "Evaluation" in words
    assert "corpus_mcq" in words


def test_stub_runs_are_marked(tmp_path: Path) -> None:
    """A run of sample rows makes a page that says so at every stage, whatever the sample rows hold."""
    run = life_cycle(tmp_path)
    for node in run.nodes:
        run.finish(node, 0.1, **{name: row.sample() for name, row in node.stage.outputs.items()})
        manifest = Manifest.read(node.path)
        manifest.model_copy(update={"stub": True}).write(node.path)
    words = Page(render(run.nodes, "pretrain")).words
    assert f"0 of {len(run.nodes)} stages are done." in words
    assert words.count("(sample rows only)") == len(run.nodes)


def test_empty_tables(tmp_path: Path) -> None:
    """Stages that finished with no rows at all make a page without sections on nothing."""
    run = life_cycle(tmp_path)
    for node in run.nodes:
        run.finish(node, 0.1)
    assert sections(render(run.nodes, "pretrain")) == ["graph", "stages", "provenance"]


def test_shards_are_added_up(tmp_path: Path) -> None:
    """Rows of all parts of a sharded stage are counted, and only of the parts that the manifest lists."""

    class Train(Stage):
        """Steps in shards."""

        name = "train"
        outputs = {"steps": TrainStep}

    run, steps = FakeRun(tmp_path), pretraining()["steps"]
    node = run.finish(run.node(Train()), 1.0, steps=steps[:100])
    first = Manifest.read(node.path)
    parts = [*first.outputs["steps"].parts]
    for index, rows in ((1, steps[100:200]), (2, steps[200:])):
        outputs = Outputs(node.path, {"steps": TrainStep}, (index, 3))
        outputs["steps"].write(rows)
        written = outputs.close()["steps"].parts
        parts += written if index == 1 else ()  # the last shard lies there but was never committed
    listed = {"steps": Output(contract=TrainStep.contract(), parts=tuple(parts))}
    first.model_copy(update={"outputs": listed}).write(node.path)
    assert "200 steps, 819,200 tokens" in Page(render(run.nodes, "train")).words


def test_a_bracket_in_a_path_is_no_pattern(tmp_path: Path) -> None:
    """A storage root with characters of file patterns in its name is read as it is."""
    run = FakeRun(tmp_path / "runs [a-z]*?")
    node = run.node(next(n.stage for n in life_cycle(tmp_path).nodes if n.name == "pretrain"))
    run.finish(node, 1.0, **pretraining())
    assert "300 steps, 1,228,800 tokens" in Page(render(run.nodes, "x")).words


def test_provenance_has_every_setting(page: str, done_run: FakeRun) -> None:
    """Settings, fingerprints, packages and the digest of the code of every stage are in the page."""
    words = Page(page).words
    for node in done_run.nodes:
        manifest = Manifest.read(node.path)
        assert manifest.code_sha256 in words
        for key, value in manifest.settings.items():
            assert f"{key} {json.dumps(value, ensure_ascii=False)}"[:60] in words
        for given in manifest.inputs.values():
            assert given.fingerprint in words
    assert "pyarrow 26.0.0" in words


def test_drop_reasons_and_examples(page: str) -> None:
    """Each reason has its count of the manifest, and a dropped row's path and detail as an example."""
    words = Page(page).words
    assert "filter: 7 dropped" in words
    assert "language 6" in words
    assert "needs a password" in words
    assert "no page tree & no <xref>" in words


def test_answers_and_questions_are_shown(page: str) -> None:
    """Questions that were answered rightly and wrongly, free answers, and the endpoint's own answer are there."""
    words = Page(page).words
    assert "Questions that borealis-chat answers rightly" in words
    assert "Questions that borealis-chat answers wrongly" in words
    assert "Answers in the models' own words" in words
    assert "What isn't the density of sample 3?" in words
    assert "curl http://127.0.0.1:40123/v1/chat/completions" in words


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "muted", "accent"])
@pytest.mark.parametrize("ground", ["paper", "panel", "tint"])
def test_contrast_of_words(page: str, theme: int, ink: str, ground: str) -> None:
    """Words stand out from what is behind them by at least 4.5 : 1 in both themes (WCAG 2.2, AA)."""
    block = re.findall(r":root \{(.*?)\}", page, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
