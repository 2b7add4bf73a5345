"""The Kafka edge: the only package that imports the client."""
