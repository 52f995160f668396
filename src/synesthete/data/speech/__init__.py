"""Speech made on this machine: the embedded engine, its voices, and the corpus of spoken class names."""
