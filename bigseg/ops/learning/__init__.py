"""Feature vectors of whole volumes: samples, scaling, clusters, models, figures."""
