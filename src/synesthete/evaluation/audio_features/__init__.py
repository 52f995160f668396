"""What sounds are like: bands, rhythm, pitch, spectra; of one sound, and of sets of them."""
