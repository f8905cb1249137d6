"""Water: fountains and other water points, tanks and their pumps."""
