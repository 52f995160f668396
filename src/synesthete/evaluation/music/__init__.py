"""What a model of music is worth: a judge, distances between sets, bands, rhythm, pitch, memorisation."""
