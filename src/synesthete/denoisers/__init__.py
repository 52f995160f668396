"""Networks that look at a noisy x_t and a condition and predict; interchangeable behind one contract."""
