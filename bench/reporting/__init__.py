"""How results are shown and kept: terminal table, JSON file, picture."""
