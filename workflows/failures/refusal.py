"""What a run does when the scheduler takes no job: wait where a queue's limit is reached, else give up after three refusals.

Parsl asks after each look at its jobs. Its own handler counts every refusal, so a user with another job in a queue that takes
one of each user would lose the run within a quarter of a minute.
"""

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from parsl.jobs.error_handlers import windowed_error_handler
from parsl.jobs.states import JobState, JobStatus

LIMIT_REACHED = re.compile(
    r"would exceed|already in queue|MaxSubmit|submit limit", re.IGNORECASE
)  # PBS's, Slurm's words
MAX_REFUSALS = 720  # at one every five seconds, an hour
REFUSED = (JobState.FAILED, JobState.MISSING)


def patient_error_handler(executor: Any, status: Mapping[str, JobStatus], threshold: int = 3) -> None:
    """Fail an executor's tasks after `threshold` refusals in a row, or an hour of them where a limit is reached."""
    newest_first = [status[block] for block in sorted(status, key=int, reverse=True)]
    refusals = list(takewhile(lambda s: s.state in REFUSED, newest_first))
    if refusals and LIMIT_REACHED.search(refusals[0].message or "") and len(refusals) < MAX_REFUSALS:
        return
    windowed_error_handler(executor, dict(status), threshold)
