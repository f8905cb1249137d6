"""The uplink: from the outbox to the broker, and commands back. It uses the outbox and the arbiter's `submit` only."""
