"""The one training loop, its stages, checkpoints and log."""
