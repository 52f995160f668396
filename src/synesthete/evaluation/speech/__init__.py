"""What a model that speaks is worth: judges, listeners, and what they are read against."""
