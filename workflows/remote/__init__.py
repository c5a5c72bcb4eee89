"""Runs on another machine through Globus Compute: one small function there, and the same command here; see docs/remote.md."""
