"""The models of the site file: one module a section."""
