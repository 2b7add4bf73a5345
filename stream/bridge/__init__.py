"""Segment's events on their way into Kafka: by webhook, or from the topic of its destination."""
