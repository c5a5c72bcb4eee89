"""The function that is registered with Globus Compute. Its source is what is sent, so it needs nothing but Python there.

All that it does is to hand a request to the project's own code on the other side, so it need never change.
"""

from typing import Any


def borealis(request: dict[str, Any]) -> dict[str, Any]:
    """Hand a request to the checkout in `request["project"]`; returns its answer."""
    import json
    import subprocess

    project = request["project"]
    command = [f"{project}/.venv/bin/python", "-m", "workflows.remote.answer"]
    done = subprocess.run(
        command, input=json.dumps(request), cwd=project, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
