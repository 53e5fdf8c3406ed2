"""Benchmarks: bigseg against its peers on one test volume, in one run (``python -m tests.benchmarks.run``)."""
