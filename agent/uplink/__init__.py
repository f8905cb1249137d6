"""The uplink: from the outbox to the broker, and commands back. It knows the outbox and the arbiter's door only."""
