"""Which pages are read again, by which parser, so that a budget buys the most text."""
