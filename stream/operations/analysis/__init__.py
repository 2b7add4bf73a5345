"""Core: conclusions of the operator commands, without clock, sockets and Kafka."""
