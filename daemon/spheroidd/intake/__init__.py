"""From a file in a watched folder to a complete image with plate, well and time."""
