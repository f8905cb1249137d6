"""Small tools that any part may use. They know nothing of sites, buses or services."""
