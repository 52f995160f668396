"""Raw conditions to `Condition`: tokens for cross-attention, a pooled vector for modulation, and the null of each."""
