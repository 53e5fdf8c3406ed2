"""Tests of bigseg.report."""
