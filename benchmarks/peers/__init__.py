"""Other projects' networks and training loops as their users run them, for the benchmarks that compare with them."""
