"""From raw sources to one verified set with a manifest of where everything came from."""
