"""Counts of whole volumes: histograms, exact percentiles and moments."""
