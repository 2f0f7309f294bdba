"""Feature extraction from named layers of any network."""
