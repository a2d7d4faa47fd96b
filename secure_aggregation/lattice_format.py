"""Sizes of SEAL's format that both halves need; apart, so that the server never imports SEAL."""

SEED_BYTES = 64
"""Seed of SEAL's generator, from which ``c1`` of a symmetric ciphertext follows."""
