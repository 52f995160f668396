"""What is measured: one row a metric, and how each is computed."""
