"""Pictures speak: a clip of sound for a picture, which says what it shows."""
