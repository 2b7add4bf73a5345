"""`bridge --from-topic`, with every call on its clients named, to be killed there."""

import sys

import confluent_kafka
from launcher import named

from stream.kafka import repartition

POINTS = (
    "after init transactions",
    "after assign",
    "after produce",
    "before send offsets",
    "after send offsets",
    "after commit",
)


class Producer(confluent_kafka.Producer):
    init_transactions = named("init transactions", confluent_kafka.Producer.init_transactions)
    begin_transaction = named("begin transaction", confluent_kafka.Producer.begin_transaction)
    produce = named("produce", confluent_kafka.Producer.produce)
    send_offsets_to_transaction = named(
        "send offsets", confluent_kafka.Producer.send_offsets_to_transaction
    )
    commit_transaction = named("commit", confluent_kafka.Producer.commit_transaction)


class Consumer(confluent_kafka.Consumer):
    incremental_assign = named("assign", confluent_kafka.Consumer.incremental_assign)
    incremental_unassign = named("unassign", confluent_kafka.Consumer.incremental_unassign)


if __name__ == "__main__":
    repartition.Producer = Producer
    repartition.Consumer = Consumer
    from stream.cli.app import main

    sys.argv = ["wootric-stream", "bridge", *sys.argv[1:]]
    main()
