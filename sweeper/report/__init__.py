"""From the records of a study to a document that people read."""
