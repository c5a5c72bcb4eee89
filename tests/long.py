"""Tests that take minutes, and are run when they are asked for."""

import os

import pytest


def when_asked(target: str) -> pytest.MarkDecorator:
    """A mark for tests that `make TARGET` runs, and a plain run of all tests leaves out aloud."""
    return pytest.mark.skipif("BOREALIS_LONG_TESTS" not in os.environ, reason=f"takes minutes: make {target}")
