"""Feature vectors of one block, tile by tile: filters that share their Gaussians, and their scaling."""
