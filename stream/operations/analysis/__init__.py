"""Core: what an operator's commands conclude, without a clock, a socket and Kafka."""
