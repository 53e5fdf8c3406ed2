"""Generated volumes with known truth: every voxel from its place and the seed alone."""
