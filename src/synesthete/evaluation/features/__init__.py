"""What sets of pictures or of sounds are compared by: a row of numbers each."""
