"""What every control is built on: its API, calendars and weeks; and the engine that runs controls."""
