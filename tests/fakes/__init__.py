"""Stand-ins for what the agent talks to or stands on: broker, slaves, modems, clock, stores."""
