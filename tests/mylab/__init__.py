"""A package of somebody else's, as a plugin: one of each kind."""
