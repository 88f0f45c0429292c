"""The same numbers sooner: what makes encoders, products and dropout fast."""
