"""Benchmarks: `make bench` prints what the README claims. Machines are noisy: quote medians, compare in pairs."""
