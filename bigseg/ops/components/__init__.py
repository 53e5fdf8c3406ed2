"""Components of whole volumes: a pass, a tree of super-blocks, ids, rows and tables."""
