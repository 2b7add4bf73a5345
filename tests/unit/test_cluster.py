"""What `make check-cluster` decides without a node."""

from stream.devtools.wootric_emulator import EmulatorState
from tests.cluster import needs
from tests.cluster.world import disorder


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
