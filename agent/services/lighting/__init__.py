"""Street lighting: circuits that follow the sun, the clock and the mayor's decision."""
