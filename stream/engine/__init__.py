"""Core: ordering, exactly-once, receipts, scheduling. Knows no clock, socket or Kafka."""
