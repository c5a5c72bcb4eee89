"""How often to save and how many spare nodes to take, where nodes fail: the fewest node-hours for the work that stays.

Nodes fail independently and without memory, so n of them are interrupted every MTBF/n. Saving every tau seconds costs C; a failure
costs what was done since the last save and, where a spare node is left, a restart R inside the job; where none is left the job ends
and the next one begins after the queue with a start S. Young 1974 and Daly 2006 give the best interval of one endless job, which the
search must find again; a seeded simulation of jobs, event by event, is the second check.
What it gives up: failures in clusters, failures that no spare mends, saves that fail.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

HOUR = 3600.0


@dataclass(frozen=True)
class Conditions:
    """What a run meets: seconds, but for the hours that a node works between its failures."""

    nodes: int
    node_mtbf_hours: float
    save_seconds: float
    restart_seconds: float
    start_seconds: float
    walltime_seconds: float
    queue_seconds: float = 0.0

    @property
    def mtbf_seconds(self) -> float:
        """Between failures among the nodes at work."""
        return self.node_mtbf_hours * HOUR / self.nodes


@dataclass(frozen=True)
class Cost:
    """Of one policy: node-hours paid for an hour of work of one node that stays, and hours by the calendar, with the queue."""

    interval_seconds: float
    spares: int
    node_hours: float
    calendar_hours: float


def young(save_seconds: float, mtbf_seconds: float) -> float:
    """The first-order best interval of work between saves (Young 1974)."""
    return math.sqrt(2 * save_seconds * mtbf_seconds)


def daly(save_seconds: float, mtbf_seconds: float) -> float:
    """The higher-order best interval (Daly 2006, equation 37); the mean time itself where a save costs twice of it or more."""
    if save_seconds >= 2 * mtbf_seconds:
        return mtbf_seconds
    ratio = math.sqrt(save_seconds / (2 * mtbf_seconds))
    return young(save_seconds, mtbf_seconds) * (1 + ratio / 3 + ratio**2 / 9) - save_seconds


def stretch(interval: float, conditions: Conditions) -> float:
    """Seconds of a running job for a second of work that stays: M e^(R/M) (e^((tau + C)/M) - 1) / tau (Daly 2006, equation 20)."""
    mean = conditions.mtbf_seconds
    pieces = math.expm1(min(700.0, (interval + conditions.save_seconds) / mean))
    return mean * math.exp(conditions.restart_seconds / mean) * pieces / interval


def life(conditions: Conditions, spares: int, most_seconds: float) -> float:
    """Expected seconds of a job that ends after so many, or with failure number spares + 1 (a Poisson process)."""
    expected = most_seconds / conditions.mtbf_seconds
    none, fewer, total = math.exp(-expected), 0.0, 0.0
    for count in range(spares + 1):
        fewer += none * expected**count / math.factorial(count)
        total += 1 - fewer
    return conditions.mtbf_seconds * total


def cost(interval: float, spares: int, conditions: Conditions) -> Cost:
    """The expected cost of a policy; infinite where a job is over before it has begun to work."""
    lives = life(conditions, spares, conditions.walltime_seconds)
    if conditions.start_seconds >= conditions.walltime_seconds:
        return Cost(interval, spares, math.inf, math.inf)
    work = (lives - life(conditions, spares, conditions.start_seconds)) / stretch(interval, conditions)
    paid = lives * (conditions.nodes + spares) / conditions.nodes
    return Cost(interval, spares, paid / work, (lives + conditions.queue_seconds) / work)


def best(conditions: Conditions, spares: int) -> Cost:
    """The cheapest interval for so many spares, to one part in a thousand (golden section on the logarithm)."""
    low, high = 0.0, math.log(conditions.walltime_seconds)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if stretch(math.exp(left), conditions) < stretch(math.exp(right), conditions):
            high = right
        else:
            low = left
    return cost(math.exp((low + high) / 2), spares, conditions)


def policies(conditions: Conditions, walltimes: Iterable[float]) -> list[Cost]:
    """The best interval for 0, 1, 2, ... spares, whose jobs may run for so many seconds (0: no queue takes them)."""
    jobs = [replace(conditions, walltime_seconds=seconds) for seconds in walltimes]
    return [best(job, spares) for spares, job in enumerate(jobs) if job.walltime_seconds]


def simulate(policy: Cost, conditions: Conditions, num_jobs: int = 400, seed: int = 0) -> Cost:
    """The cost of a policy in jobs that are played out; the same seed gives the same jobs."""
    random = Random(seed)  # noqa: S311 - seeded, not secret
    lives = work = 0.0
    for _ in range(num_jobs):
        lived, done = _job(policy, conditions, random)
        lives, work = lives + lived, work + done
    if not work:
        return replace(policy, node_hours=math.inf, calendar_hours=math.inf)
    paid = lives * (conditions.nodes + policy.spares) / conditions.nodes
    calendar = lives + num_jobs * conditions.queue_seconds
    return replace(policy, node_hours=paid / work, calendar_hours=calendar / work)


def _job(policy: Cost, conditions: Conditions, random: Random) -> tuple[float, float]:
    """Seconds that one job runs, and seconds of its work that stay."""
    now, saved, spares = conditions.start_seconds, 0.0, policy.spares
    failure = random.expovariate(1 / conditions.mtbf_seconds)
    end, period = conditions.walltime_seconds, policy.interval_seconds + conditions.save_seconds
    while now < end:
        if failure >= now + period or failure >= end:  # all goes well until the next save, or to the end
            share = min(
                1.0, max(0.0, end - conditions.save_seconds - now) / policy.interval_seconds
            )  # a last save before it
            saved, now = saved + share * policy.interval_seconds, now + period
        elif spares == 0:
            return failure, saved
        else:
            spares -= 1
            now = max(now, failure) + conditions.restart_seconds
            failure += random.expovariate(1 / conditions.mtbf_seconds)
    return end, saved
