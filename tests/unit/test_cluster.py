"""What `make check-cluster` decides without a node."""

import json

from stream.devtools.demo import judge_all
from stream.devtools.wootric_emulator import EmulatorState
from stream.kafka.producer import record_of
from stream.record import Partition, Record
from tests.cluster import needs
from tests.cluster.observing import scraping
from tests.cluster.world import disorder, silence_s


def test_a_machine_that_cannot_be_a_node_is_told_why(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert needs.missing(tmp_path) == ["root: namespaces, mounts and cgroups are made"]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(needs, "CGROUPS", tmp_path)
    found = needs.missing(tmp_path)
    assert "buildah: the image is built" in found
    assert f"cgroups: no cpu, cpuset, devices, memory, pids in {tmp_path}" in found


def test_a_survey_behind_a_later_one_of_its_end_user_is_out_of_order():
    state = EmulatorState(lambda: 0.0)
    ann, bob = (state.create_end_user({}, unique=()) for _ in range(2))
    for user, moment in ((ann, 1), (bob, 5), (ann, 3), (bob, 4), (ann, 2), (ann, 3)):
        state.add_response(user, {"score": 9, "created_at": moment}, keep_properties=True)
    assert disorder(state) == 2


def test_the_silence_ends_when_the_last_partition_sends_again():
    """What was published before does not count, nor a partition's later ones."""
    published = [(0, 99), (0, 101), (0, 102), (1, 100), (2, 104)]
    judged = judge_all([page(*one, offset) for offset, one in enumerate(published)])
    views = [
        {"at": at, "random": event.result.operation.random}
        for event, at in zip(judged, (109, 103, 108, 107, 105), strict=True)
    ]
    assert silence_s(judged, views, 100.0) == 7
    assert silence_s(judged, views, 200.0) == 0


def page(partition: int, at: int, offset: int) -> Record:
    document = {"type": "page", "messageId": f"m{offset}", "userId": "7"}
    document["properties"] = {"url": "https://example.com/"}
    key, value = record_of(json.dumps(document).encode())
    return Record(Partition("t", partition), offset, at * 1000, key, value)


def test_prometheus_scrapes_the_pods_that_the_monitor_selects():
    name, metrics = "app.kubernetes.io/name", {"name": "http-metrics", "containerPort": 8080}
    monitor = {
        "metadata": {"namespace": "surveys", "name": "wootric"},
        "spec": {
            "selector": {"matchLabels": {name: "ours"}},
            "podTargetLabels": [name],
            "podMetricsEndpoints": [{"port": "http-metrics", "path": "/metrics"}],
        },
    }
    pods = [
        {
            "metadata": {"name": f"{of}-0", "labels": {name: of, "other": "a"}},
            "spec": {"containers": [{"name": "side"}, {"name": "main", "ports": [metrics]}]},
            "status": {"podIP": "10.85.0.2"},
        }
        for of in ("ours", "theirs")
    ]
    labels = {"namespace": "surveys", "pod": "ours-0", "container": "main"}
    assert scraping(monitor, pods) == {
        "job_name": "surveys/wootric",
        "metrics_path": "/metrics",
        "static_configs": [
            {
                "targets": ["10.85.0.2:8080"],
                "labels": {**labels, "app_kubernetes_io_name": "ours"},
            },
        ],
    }
