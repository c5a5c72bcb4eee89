"""The interval between saves and the number of spares: against Young and Daly, a simulation, and Poisson's law."""

import argparse
import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from stages.base import SettingsError
from workflows.__main__ import parser
from workflows.plan.failures import HOUR, Conditions, best, cost, daly, life, policies, simulate, stretch, young
from workflows.plan.saving import failures, longest
from workflows.site import load_site

LARGE = Conditions(512, 2000, save_seconds=24, restart_seconds=60, start_seconds=600, walltime_seconds=12 * HOUR)


@given(save=st.floats(1, 600), mtbf_hours=st.floats(0.5, 100))
@settings(max_examples=50, deadline=None)
def test_the_search_finds_daly(save: float, mtbf_hours: float) -> None:
    """Over the exact expectation the best interval is Daly's, to 2%, and no interval nearby is cheaper."""
    endless = Conditions(1, mtbf_hours, save, 60, 600, walltime_seconds=1000 * HOUR)
    interval = best(endless, 0).interval_seconds
    assert interval == pytest.approx(daly(save, endless.mtbf_seconds), rel=0.02)
    assert all(stretch(interval * factor, endless) >= stretch(interval, endless) * (1 - 1e-6) for factor in (0.9, 1.1))


@pytest.mark.parametrize(("save", "seconds"), [(5, 190), (600, 2078)])
def test_young(save: float, seconds: float) -> None:
    """A save of 5 s and a failure an hour give 190 s, a save of 10 minutes about 35 minutes."""
    assert young(save, HOUR) == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize("spares", [0, 1, 3, 8])
def test_the_life_of_a_job(spares: int) -> None:
    """A job lives as long as the mean of many drawn ones: to its walltime or to the failure that finds no spare."""
    random = Random(1)
    mean, most = LARGE.mtbf_seconds, LARGE.walltime_seconds
    drawn = [min(most, sum(random.expovariate(1 / mean) for _ in range(spares + 1))) for _ in range(20_000)]
    assert life(LARGE, spares, most) == pytest.approx(sum(drawn) / len(drawn), rel=0.02)


@pytest.mark.parametrize("spares", [0, 1, 2, 8])
@pytest.mark.parametrize("mtbf", [500, 2000, 20_000])
def test_the_simulation_agrees(spares: int, mtbf: float) -> None:
    """Jobs that are played out cost what is expected, to 4% (the formula counts a restart after the last failure too)."""
    conditions = replace(LARGE, node_mtbf_hours=mtbf, queue_seconds=HOUR)
    policy = best(conditions, spares)
    played = simulate(policy, conditions, num_jobs=4000)
    assert played.node_hours == pytest.approx(policy.node_hours, rel=0.04)
    assert played.calendar_hours == pytest.approx(policy.calendar_hours, rel=0.04)


def test_the_simulation_finds_the_same_interval() -> None:
    """Among intervals a factor of two apart the simulation, too, likes the best one most."""
    conditions = replace(LARGE, node_mtbf_hours=500)
    interval = best(conditions, 4).interval_seconds
    tried = {f: simulate(cost(f * interval, 4, conditions), conditions, 2000).node_hours for f in (0.25, 0.5, 1, 2, 4)}
    assert min(tried, key=lambda factor: tried[factor]) == 1


def test_a_seed_gives_the_same_jobs() -> None:
    """The same seed plays the same jobs, another one others."""
    policy = best(LARGE, 1)
    assert simulate(policy, LARGE) == simulate(policy, LARGE)
    assert simulate(policy, LARGE) != simulate(policy, LARGE, seed=1)


def test_spares_pay_where_nodes_fail() -> None:
    """With nodes that hardly fail no spare is worth its hours; with nodes that fail often several are."""
    reliable, frail = (replace(LARGE, node_mtbf_hours=hours) for hours in (1e6, 300))
    cheapest = [
        min(policies(each, [12 * HOUR] * 17), key=lambda policy: policy.node_hours) for each in (reliable, frail)
    ]
    assert cheapest[0].spares == 0
    assert cheapest[1].spares > 4
    assert cheapest[0].node_hours < 1.03


def test_a_job_that_only_starts_costs_everything() -> None:
    """Where starting takes the whole walltime, no work is done."""
    assert cost(100, 0, replace(LARGE, start_seconds=12 * HOUR)).node_hours == math.inf


def test_queues_limit_jobs() -> None:
    """The longest job of so many nodes is the queue's that takes it; by request or preemptible ones do not count."""
    aurora, polaris = load_site("aurora").cluster, load_site("polaris").cluster
    assert aurora
    assert polaris
    assert longest(aurora.queues, 512) == 12 * HOUR
    assert longest(aurora.queues, 2000) == 24 * HOUR
    assert longest(aurora.queues, 20_000) == 0
    assert longest(polaris.queues, 8) == HOUR


def ask(*words: str) -> tuple[argparse.Namespace, Console]:
    """The command line, and a console that keeps what it prints."""
    return parser().parse_args(["plan", "--failures", *words]), Console(record=True, width=200)


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has spares, intervals and both costs, and ends with the recommendation beside Young and Daly."""
    choices, console = ask("--site", "aurora", "--nodes", "512", "--node-mtbf-hours", "500")
    assert failures(choices, console) == 0
    words = console.export_text()
    assert "one failure in 1.0 h" in words
    assert "<- fewest node-hours" in words
    assert "spare nodes; Young gives 411 s, Daly 395 s" in words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--site", "laptop"], "has no queues"),
        (["--site", "aurora", "--nodes", "20000"], "no queue takes 20000 nodes"),
        (
            ["--site", "aurora", "--save-seconds", "0", "--restart-seconds", "-1"],
            "--save-seconds 0.0.*\n--restart-seconds -1",
        ),
    ],
)
def test_what_cannot_be_asked(words: list[str], message: str) -> None:
    """A site without queues, too many nodes, times that are none: all are named."""
    choices, console = ask(*words)
    with pytest.raises(SettingsError, match=message):
        failures(choices, console)
