"""From a study's winner to exports that are measured against it, each in its own process."""
