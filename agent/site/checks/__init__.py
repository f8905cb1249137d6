"""Rules between the keys of a site file."""
