"""What is known of objects, as whole numbers that add up over blocks: moments, surfaces, pairs, neighbours."""
