"""Stages: one package a step of the life cycle. Run one as `python -m stages.NAME`, never by the path of a file."""
