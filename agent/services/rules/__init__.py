"""Rules and interlocks: an output that follows a condition."""
