"""The municipal services: each is one folder, with a line in `registry.py`."""
