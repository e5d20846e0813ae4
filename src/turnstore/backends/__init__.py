"""Where connections live. Nothing here knows a table."""
