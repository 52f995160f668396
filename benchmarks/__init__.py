"""Figures that the documentation quotes; run as `python -m benchmarks.NAME`."""
