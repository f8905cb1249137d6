"""The municipal services. Each is one folder."""
