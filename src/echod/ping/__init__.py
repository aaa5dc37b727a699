"""Layer 4: `echod ping`."""
