"""From values to thresholds: counts and what they say, thresholds of the whole image and of windows."""
