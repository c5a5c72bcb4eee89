"""Recipes: edges are checked, settings are laid over, addresses follow, selections are right."""

from pathlib import Path

import pytest

from schemas.table import ContractError
from stages.base import PACKAGE_ROOT, SettingsError
from stages.filter import Filter
from stages.ingest import Ingest
from stages.parse import Parse
from stages.sketch import Sketch
from workflows.base import Run, Selection, load_recipe, unfinished_inputs


@pytest.fixture
def run(tmp_path) -> Run:
    """An empty graph."""
    (tmp_path / "papers").mkdir()
    return Run(tmp_path / "runs", {"ingest": {"paths": str(tmp_path / "papers")}})


def chain(run: Run) -> Run:
    """Four stages in a row."""
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    kept = run(Filter(), documents=parsed["documents"])
    run(Sketch(), documents=kept["documents"])
    run.check()
    return run


def prints(run: Run) -> dict[str, str]:
    """Fingerprints by name."""
    return {n.name: n.fingerprint for n in run.nodes}


def test_paths_follow_fingerprints(run) -> None:
    """A node's path is root, stage, fingerprint, known before anything runs."""
    chain(run)
    for node in run.nodes:
        assert node.path == run.root / node.stage.name / node.fingerprint
        assert not node.done


def test_wrong_edges_are_all_named(run) -> None:
    """A wrong contract, a missing input and an unknown one are reported together, before anything runs."""
    found = run(Ingest())
    run(Filter(), documents=found["sources"])
    run(Parse())
    run(Sketch(), document=found["sources"])
    with pytest.raises(ContractError) as error:
        run.check()
    words = str(error.value)
    assert "filter input 'documents' must be Document@1, got SourceFile@2" in words
    assert "parse needs the input 'sources' (SourceFile@2)" in words
    assert "sketch has no input 'document'; did you mean documents?" in words


def test_unknown_output(run) -> None:
    """Asking for an output that a stage does not have names the nearest."""
    with pytest.raises(ContractError, match="did you mean sources"):
        run(Ingest())["source"]


def test_two_nodes_of_one_name(run) -> None:
    """Two nodes of one stage need names."""
    run(Ingest())
    with pytest.raises(ContractError, match="give one a name="):
        run(Ingest())


def test_settings_problems_come_together(tmp_path) -> None:
    """An unknown stage, an unknown setting and a wrong type make one message with the nearest right names."""
    run = Run(tmp_path, {"sketche": {"x": 1}, "sketch": {"num_band": 3}, "filter": {"languages": 5}})
    with pytest.raises(SettingsError) as error:
        chain(run)
    words = str(error.value)
    assert "sketche: the recipe has no such stage; did you mean sketch?" in words
    assert "sketch.num_band: no such setting; did you mean sketch.num_bands?" in words
    assert "filter.languages" in words


def test_a_setting_moves_what_follows(run) -> None:
    """A changed setting changes the address of its stage and of all that follows, and of nothing before."""
    before = prints(chain(run))
    after = prints(chain(Run(run.root, {**run.overrides, "filter": {"languages": "de"}})))
    assert before["ingest"] == after["ingest"]
    assert before["parse"] == after["parse"]
    assert before["filter"] != after["filter"]
    assert before["sketch"] != after["sketch"]


def test_where_does_not_change_what(run, tmp_path) -> None:
    """The same folder under another path has the same address; a new file in it has another."""
    (tmp_path / "papers" / "old.txt").write_text("text")
    before = prints(chain(run))
    (tmp_path / "moved").mkdir()
    (tmp_path / "papers").rename(tmp_path / "moved" / "papers")
    moved = {"ingest": {"paths": str(tmp_path / "moved" / "papers")}}
    assert prints(chain(Run(run.root, moved))) == before
    (tmp_path / "moved" / "papers" / "new.txt").write_text("text")
    assert prints(chain(Run(run.root, moved)))["ingest"] != before["ingest"]


def test_override_by_node_wins_over_stage(run) -> None:
    """`evaluate_base.x` is for one node, `evaluate.x` for all nodes of the stage; the node's own wins."""
    over = {**run.overrides, "sketch": {"num_bands": 9}, "strict": {"num_bands": 11}}
    run = Run(run.root, over)
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    run(Sketch(), documents=parsed["documents"])
    run(Sketch(), name="strict", documents=parsed["documents"])
    run.check()
    bands = {n.name: n.stage.num_bands for n in run.nodes if isinstance(n.stage, Sketch)}
    assert bands == {"sketch": 9, "strict": 11}


@pytest.mark.parametrize(("settings", "names"), [({}, []), ({"sketch": {}}, ["sketch"]), ({"ingest": {}}, [])])
def test_an_option_is_there_when_it_is_named(tmp_path, settings, names) -> None:
    """A stage that the recipe asks about is added if the user has said anything of it, even without a setting."""
    run = Run(tmp_path, settings)
    found = run(Ingest())
    parsed = run(Parse(), sources=found["sources"])
    if run.asked("sketch", "dedup"):
        run(Sketch(), documents=parsed["documents"])
    run.check()
    assert [n.name for n in run.nodes] == ["ingest", "parse", *names]


def test_an_option_that_is_off_is_named(tmp_path) -> None:
    """Shards for an option that was not asked for are refused with how to ask for it."""
    run = Run(tmp_path, {}, {"sketch": 4})
    assert not run.asked("sketch")
    with pytest.raises(SettingsError, match="sketch: the recipe has no such stage; it is an option: --set sketch=on"):
        run.check()


@pytest.mark.parametrize("word", ["semantic", "embed"])
def test_meanings_are_compared_on_demand(tmp_path, word) -> None:
    """Said anything of either, both stages stand between dedup and decontaminate; without it nothing before them changes."""
    recipe, runs = PACKAGE_ROOT / "workflows" / "corpus.py", tmp_path / "runs"
    ingest = {"ingest": {"paths": str(tmp_path)}}
    without, asked = (load_recipe(recipe, runs, {**ingest, **more}).nodes for more in ({}, {word: {}}))
    assert [n.name for n in asked if n.name not in {m.name for m in without}] == ["embed", "semantic"]
    by_name = {n.name: n for n in asked}
    assert by_name["decontaminate"].inputs["documents"].node is by_name["semantic"]
    assert {p.node.name for p in by_name["semantic"].inputs.values()} == {"dedup", "sketch", "embed"}
    assert by_name["dedup"].fingerprint == next(n.fingerprint for n in without if n.name == "dedup")


def test_missing_files_do_not_stop_a_plan(tmp_path) -> None:
    """A folder that is not there is remembered as missing; the graph is still built."""
    run = chain(Run(tmp_path, {"ingest": {"paths": str(tmp_path / "nowhere")}}))
    assert any("nowhere" in m for m in run.missing)
    assert {n.fingerprint for n in run.nodes} == {"unknown"}


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), ["ingest", "parse", "filter", "sketch", "sketch_strict"]),
        (Selection(only="filter"), ["filter"]),
        (Selection(start="filter"), ["filter", "sketch", "sketch_strict"]),
        (Selection(until="filter"), ["ingest", "parse", "filter"]),
        (Selection(start="parse", until="sketch"), ["parse", "filter", "sketch"]),
    ],
)
def test_selections(recipe, root, selection, names) -> None:
    """`--only`, `--from` and `--until` pick the stage, what follows, what leads there, and their overlap."""
    nodes = load_recipe(recipe, root, {"ingest": {"paths": str(recipe.parent / "papers")}}).nodes
    assert [n.name for n in selection.apply(nodes)] == names


def test_selection_of_an_unknown_stage(recipe, root) -> None:
    """A stage that the recipe does not have is refused with the nearest name."""
    nodes = load_recipe(recipe, root, {}).nodes
    with pytest.raises(SettingsError, match="--until sketchp: no such stage; did you mean sketch"):
        Selection(until="sketchp").apply(nodes)


def test_a_selection_of_nothing(recipe, root) -> None:
    """Stages that exclude each other are an error, not a run that has nothing to do; the message has the order."""
    nodes = load_recipe(recipe, root, {}).nodes
    for selection, words in (
        (Selection(start="sketch", until="parse"), "--from sketch --until parse: no stage is all of that"),
        (Selection(only="ingest", start="parse"), "--only ingest --from parse: no stage is all of that"),
    ):
        with pytest.raises(SettingsError, match=f"{words}; the order is ingest, parse, filter"):
            selection.apply(nodes)


def test_unfinished_inputs(recipe, root) -> None:
    """A stage alone needs its inputs to be there, and says how to get them."""
    nodes = load_recipe(recipe, root, {}).nodes
    problems = unfinished_inputs(nodes, Selection(only="filter").apply(nodes))
    assert problems == ["filter needs parse, which is not done: run it first, or start with --from parse"]


def test_recipes_that_are_none(tmp_path) -> None:
    """A missing file, one without `workflow`, one of settings and one that is not Python are settings errors that say so."""
    with pytest.raises(SettingsError, match="no such recipe"):
        load_recipe(tmp_path / "x.py", tmp_path, {})
    (tmp_path / "y.py").write_text("")
    with pytest.raises(SettingsError, match="has a function"):
        load_recipe(Path(tmp_path / "y.py"), tmp_path, {})
    (tmp_path / "z.py").write_text("def workflow(run):\n    return run(\n")
    with pytest.raises(SettingsError, match=r"z\.py, line 2: .*was never closed"):
        load_recipe(tmp_path / "z.py", tmp_path, {})
    (tmp_path / "settings.toml").write_text("")
    with pytest.raises(SettingsError, match="settings go in by --settings"):
        load_recipe(tmp_path / "settings.toml", tmp_path, {})


def test_a_stage_may_be_asked_for(tmp_path) -> None:
    """Setting something of `substring` puts it before `decontaminate`; without that, the graph has no such stage."""
    names, prints_of_dedup = {}, set()
    for asked in (False, True):
        overrides = {"ingest": {"paths": str(tmp_path)}, **({"substring": {"action": "cut"}} if asked else {})}
        graph = load_recipe(PACKAGE_ROOT / "workflows" / "corpus.py", tmp_path / "runs", overrides)
        names[asked] = [n.name for n in graph.nodes]
        [clean] = [n for n in graph.nodes if n.name == "decontaminate"]
        assert clean.inputs["documents"].node.name == ("substring" if asked else "dedup")
        prints_of_dedup |= {n.fingerprint for n in graph.nodes if n.name == "dedup"}
    assert [n for n in names[True] if n != "substring"] == names[False]
    assert len(prints_of_dedup) == 1
