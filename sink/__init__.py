"""Operations to HTTP; knows nothing of Kafka."""
