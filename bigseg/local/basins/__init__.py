"""Distances, and the basins of a landscape: flow, drainage, saddles; labels that grow."""
