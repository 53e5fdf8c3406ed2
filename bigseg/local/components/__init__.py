"""Connected components of one block: masks of bits, runs, union, rows of a table, and painting the result."""
