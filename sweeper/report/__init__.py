"""From MLflow's records to a document that people read."""
