"""Faster implementations of encoders, products, dropout and the softmax; results are equal up to rounding."""
