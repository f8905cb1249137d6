"""The base of every control: its API, calendars and weeks; and the engine that runs controls."""
