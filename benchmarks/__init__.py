"""Side-by-side comparisons with peers: `python -m benchmarks.NAME [--quick] [--json FILE] [--data DIR]`."""
