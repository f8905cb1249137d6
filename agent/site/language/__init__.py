"""The language of the site file: YAML with places, values as people write them, messages."""
