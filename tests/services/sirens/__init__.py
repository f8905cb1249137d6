"""A service in one folder, as a test of what a service needs: sirens that sound when a level is too high."""
