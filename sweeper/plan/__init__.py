"""What fits on which card, simulated without a GPU."""
