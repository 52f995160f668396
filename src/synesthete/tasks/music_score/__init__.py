"""Scores that are played: what is prepared of them."""
