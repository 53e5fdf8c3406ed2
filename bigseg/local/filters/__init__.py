"""Filters of one block: linear, rank, morphology, eigenvalues, noise reduction; and how an edge is met."""
