"""Classifiers, distances, diagnostics and the report: what a model is worth, with floor and ceiling."""
