"""Teacher outputs kept by sample and view."""
