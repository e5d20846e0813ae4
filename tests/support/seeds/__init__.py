"""The seed systems' own test vocabulary, spelt with the store's calls."""
