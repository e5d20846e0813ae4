"""What the stores hold: payloads and rows, a year of sessions, files filled fast."""
