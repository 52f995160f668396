"""Signals to x_0 and back: a codec owns the range, the normalisation and what silence is."""
