"""Which pages are read again, by which parser, so that a budget buys the most text."""

SAMPLE = 512  # documents of each shard that tell its part of a budget: see docs/design/009-parse.md
