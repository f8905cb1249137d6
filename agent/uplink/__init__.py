"""The uplink: from the outbox to the broker, and commands back. It knows the outbox and the arbiter's door only."""

from agent.uplink.session import LinkLost, Session
from agent.uplink.settings import Secret, UplinkSettings
from agent.uplink.uplink import Uplink

__all__ = ["LinkLost", "Secret", "Session", "Uplink", "UplinkSettings"]
