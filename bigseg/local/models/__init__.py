"""Fitted models as plain arrays: forests, linear models, cluster centres; samples, and figures of agreement."""
