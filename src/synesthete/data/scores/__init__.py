"""Music as notes: scores, the files they are in, and corpora of them."""
