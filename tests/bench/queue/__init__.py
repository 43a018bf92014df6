"""The queue under load, beside its peers: `make bench-queue`, or `python -m tests.bench.queue [section ...]`."""
