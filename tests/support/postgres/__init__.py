"""Real PostgreSQL servers, standbys and poolers, and ways to cut them off."""
