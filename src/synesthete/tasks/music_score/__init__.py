"""Scores that are played: what is prepared of them, and how they are sounded."""
