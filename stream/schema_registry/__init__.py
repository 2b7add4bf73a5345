"""A schema registry with Confluent's API: schemas by id, for readers and for writers."""
