"""Jobs on a Ray cluster of two nodes on this machine: the same bytes, also when an actor or a node is killed."""

import os
import signal
import time
from threading import Thread

import pytest

import attrkit
from tests.jobs.conftest import hashes

ray = pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'attrkit[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


def executor(cluster, **more):
    return {"kind": "ray", "workers": 2, "address": cluster.address, **more}


def committed(folder, count):
    """Wait until so many shards are there."""
    until = time.monotonic() + 120
    while len(list(folder.glob("_commits/*.json"))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_two_nodes_give_the_same_bytes_and_leave_the_cluster(folder, cluster):
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml")).folder)
    result = attrkit.run(folder.job("ray.yaml", executor=executor(cluster)))
    assert result.errors == {}
    assert result.done
    assert hashes(result.folder) == undisturbed
    assert not ray.is_initialized()


@pytest.mark.parametrize("what", ["actor", "node"])
def test_what_is_killed_is_replaced(folder, cluster, what):
    """Its shard is begun again, on another node if need be; the bytes are those of an undisturbed run."""
    notes = folder.path / "pids"
    notes.mkdir()
    noting = f"\n\ndef noting():\n    open({os.fspath(notes)!r} + f'/{{os.getpid()}}', 'w').close()\n    return slow()\n"
    (folder.path / "net.py").write_text((folder.path / "net.py").read_text() + noting)
    folder.rows(200)
    slowly = {"model": "net.py:noting", "shards": {"rows": 10, "chunk": 5}}  # a quarter of a second a shard
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml", **slowly)).folder)
    job = folder.job("killed.yaml", **slowly, executor=executor(cluster))

    killed = []

    def kill():
        committed(folder.path / "killed", 2)
        if what == "node":
            own = ray.get_runtime_context().get_node_id()
            (other,) = {cluster.head_node, cluster.second} - {n for n in cluster.list_all_nodes() if n.node_id == own}
            killed.append(other)
            cluster.remove_node(other, allow_graceful=False)
        else:
            actors = [int(file.name) for file in notes.iterdir() if int(file.name) != os.getpid()]
            killed.append(actors[0])
            os.kill(actors[0], signal.SIGKILL)

    killing = Thread(target=kill)
    killing.start()
    result = attrkit.run(job)
    killing.join()
    assert result.errors == {}
    assert result.done
    assert hashes(result.folder) == undisturbed
    assert killed


def test_a_model_that_cannot_be_read_is_said(folder, cluster):
    text = (folder.path / "net.py").read_text() + f"\nif os.getpid() != {os.getpid()}:\n    raise OSError('no weights here')\n"
    (folder.path / "net.py").write_text(text)
    with pytest.raises(attrkit.errors.UsageError, match="no weights here"):
        attrkit.run(folder.job(executor=executor(cluster)))


def test_a_cluster_without_room_is_said(folder, cluster):
    with pytest.raises(attrkit.errors.AttrkitError, match="no actor began in 3 s; has the cluster room"):
        attrkit.run(folder.job(executor=executor(cluster, num_gpus=1, patience=3.0)))
