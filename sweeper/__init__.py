"""Which batch x accumulate x AMP fits a card for certain, trains best, and what it costs."""
