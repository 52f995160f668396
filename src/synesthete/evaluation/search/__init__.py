"""Search over settings of sampling: a sweep draws a grid of them, tuning looks for the best."""
