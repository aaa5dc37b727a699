"""Layer 0: what several packages need."""
