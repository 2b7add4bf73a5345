"""Core: bytes of a record to a Segment event, and back. Pure."""
