"""Scaling runs fitted: the loss that more compute would buy, and what more ranks do to the speed."""

from typing import Literal

Form = Literal["weights-and-tokens", "compute"]
FORMS: dict[Form, tuple[str, ...]] = {"weights-and-tokens": ("N", "D"), "compute": ("C",)}
"""What the loss is a function of: the runs' weights and training tokens, or their compute alone."""
