"""The search for sampling settings, piece by piece: what to try, how to measure, whom to let through, what to say."""
