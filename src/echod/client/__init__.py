"""Layer 2: the client."""
