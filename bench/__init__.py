"""Measurements of turnstore beside the floor and the plain port. See README.md."""
