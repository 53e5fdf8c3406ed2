"""Benchmarks: bigseg and its peers on one test volume, in one run (``python -m tests.benchmarks.run``)."""
