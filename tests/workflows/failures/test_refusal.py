"""When a run gives up on a scheduler that takes no job."""

import pytest
from parsl.jobs.states import JobState, JobStatus

from workflows.failures.refusal import MAX_REFUSALS, patient_error_handler

LIMIT = "Cannot launch job x: stderr=qsub: would exceed queue debug's per-user limit of jobs in 'Q' state"
UNKNOWN = "Cannot launch job x: stderr=qsub: Unknown queue"
VIOLATES = "Cannot launch job x: stderr=qsub: Job violates queue and/or server resource limits"
SLURM = "Cannot launch job x: stderr=sbatch: error: QOSMaxSubmitJobPerUserLimit"


class Executor:
    """Remembers that it was given up."""

    error: Exception | None = None

    def set_bad_state_and_fail_all(self, error: Exception) -> None:
        """Parsl's call."""
        self.error = error


def given_up(*messages: str) -> bool:
    """Whether an executor is given up after these refusals in a row; "" is a job that was taken."""
    executor = Executor()
    status = {
        str(block): JobStatus(JobState.FAILED if words else JobState.COMPLETED, words or None)
        for block, words in enumerate(messages)
    }
    patient_error_handler(executor, status)
    return executor.error is not None


@pytest.mark.parametrize("words", [UNKNOWN, VIOLATES])
def test_three_refusals_are_the_end(words) -> None:
    """What will not get better is tried three times; a job in between counts anew, and the message is kept."""
    assert not given_up(words, words)
    assert given_up(words, words, words)
    assert not given_up(words, words, "", words)


@pytest.mark.parametrize("words", [LIMIT, SLURM])
def test_a_limit_is_waited_for(words) -> None:
    """Where a limit of jobs is reached the run waits for an hour; then it is the end."""
    assert not given_up(*[words] * 12)
    assert given_up(*[words] * MAX_REFUSALS)


def test_many_blocks_are_in_their_order() -> None:
    """The newest block is the one of the highest number, not of the last word in the alphabet."""
    assert not given_up(*[UNKNOWN] * 2, "", *[LIMIT] * 9, "")
    assert given_up(*[""] * 10, *[UNKNOWN] * 3)
