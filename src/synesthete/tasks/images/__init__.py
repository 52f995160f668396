"""Pictures of a class, of words, or of nothing."""
