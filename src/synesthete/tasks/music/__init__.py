"""Music: pieces made of nothing, of a class, or of a clip to vary, to mend, to go on from or to add highs to."""
