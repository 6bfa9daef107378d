"""What a training takes of a device: budget, measurement and prediction."""
