"""Layer 3: what the commands share."""
