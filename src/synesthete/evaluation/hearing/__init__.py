"""What a model that paints sounds is worth: does it hear, and what does each of its ways of hearing add."""
