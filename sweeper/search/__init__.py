"""The study: which cells there are, which one is next, and what Optuna knows of them."""
