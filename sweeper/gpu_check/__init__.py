"""What the GPU path does on this card, as one report that can be passed on."""
