"""A study: its space, its trials and its records, put together."""
