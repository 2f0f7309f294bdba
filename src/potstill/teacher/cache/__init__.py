"""Teacher outputs cached by sample and view."""
