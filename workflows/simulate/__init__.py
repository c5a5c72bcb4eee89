"""Test doubles of PBS and of the launcher, so that a cluster's site file runs on any machine as it would there.

`qsub`, `qstat`, `qdel` and `mpiexec` are real commands on the PATH that Parsl calls; they enforce the facility's queue table.
What they give up: jobs run on this one machine, no job waits for other users', and no network is between the nodes.
"""
