"""Device memory: budget, measurement, simulation, prediction."""
