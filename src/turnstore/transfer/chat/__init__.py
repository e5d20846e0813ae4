"""Files of conversations in the chat format: one JSON object per line."""
