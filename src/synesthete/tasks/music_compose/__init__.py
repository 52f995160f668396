"""Scores composed: of a key, on notes that are held, of any length."""
