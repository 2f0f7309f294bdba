"""Image files, class folders and shards on disk."""
