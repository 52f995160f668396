"""From data to noise and back: the process, guidance and the one sampling loop."""
