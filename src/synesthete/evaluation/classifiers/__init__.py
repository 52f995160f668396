"""Which class a sample is of: one interface, one training loop, one cache, for pictures, speech and any sound."""
