"""Where signals come from: manifests, pictures, sound, pairs of both, the speech-corpus builder."""
