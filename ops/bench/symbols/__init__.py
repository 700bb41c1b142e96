"""What readable stack traces cost: source maps as bundlers make them, and errors that need them."""
