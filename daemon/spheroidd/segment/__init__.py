"""From an image to the mask of its spheroid: models, one warm session, masks."""
