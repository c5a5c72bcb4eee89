"""`qstat -x -f -F json ID...` and `qdel ID...`."""

import json
import sys
from collections.abc import Sequence

from workflows.facility import clock
from workflows.simulate.jobs import Job, Store

UNKNOWN = 153  # PBS's code for a job that it does not know
DELETED = 256 + 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the jobs of the given identifiers (of all, where none is given) as PBS does."""
    words = list(arguments if arguments is not None else sys.argv[1:])
    if words[:4] != ["-x", "-f", "-F", "json"]:
        print(f"qstat: this double knows -x -f -F json, found {words}", file=sys.stderr)
        return 2
    store = Store.from_environment()
    if store.outage.exists():
        print("Connection refused\nqstat: cannot connect to server simulated (errno=111)", file=sys.stderr)
        return 111
    with store.locked():
        jobs = {job.id: job for job in store.jobs()}
    wanted = words[4:] or list(jobs)
    for identifier in wanted:
        if identifier not in jobs:
            print(f"qstat: Unknown Job Id {identifier}", file=sys.stderr)
            return UNKNOWN
    print(json.dumps({"pbs_server": "simulated", "Jobs": {i: describe(jobs[i]) for i in wanted}}))
    return 0


def describe(job: Job) -> dict[str, object]:
    """A job's attributes by PBS's names."""
    words: dict[str, object] = {
        "Job_Name": job.name,
        "Job_Owner": f"{job.user}@simulated",
        "job_state": job.state,
        "queue": job.queue,
        "Account_Name": job.account,
        "Resource_List": {"nodect": job.nodes, "walltime": clock(job.walltime_seconds)},
        "comment": job.comment,
    }
    if job.hosts:
        words["exec_host"] = "+".join(f"{h}/0" for h in job.hosts)
    if job.exit_status is not None:
        words["Exit_status"] = job.exit_status
    return words


def delete(arguments: Sequence[str] | None = None) -> int:
    """`qdel`: end queued jobs at once; the server ends running ones."""
    store = Store.from_environment()
    code = 0
    with store.locked():
        jobs = {job.id: job for job in store.jobs()}
        for identifier in arguments if arguments is not None else sys.argv[1:]:
            job = jobs.get(identifier)
            if job is None or job.state == "F":
                print(f"qdel: {'Unknown Job Id' if job is None else 'Job has finished'} {identifier}", file=sys.stderr)
                code = UNKNOWN
            elif job.state == "Q":
                job.state, job.exit_status, job.comment = "F", DELETED, "deleted"
                store.save(job)
            else:
                store.ask(identifier, "delete")
    return code
