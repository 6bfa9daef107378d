"""From conf/ and overrides to validated settings."""
