"""Jobs, run in this process and in others: the same bytes, resumed, refused, verified."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import attrkit
from attrkit import jobs
from attrkit.cli import main
from attrkit.errors import AttrkitError, AttrkitWarning, UnknownName, UsageError, UsageTypeError
from attrkit.jobs.ledger import Ledger
from attrkit.jobs.running import _begun
from attrkit.jobs.shard import Shard
from attrkit.loading.models import load_model, load_object
from tests.jobs.conftest import ISSUE, RULES, hashes


def torchrun(*arguments, world=2):
    """What a user starts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", "-m", "attrkit"]
    return subprocess.run([*command, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=300)


def test_the_job_of_the_issue_works_as_it_stands(folder, capsys):
    folder.rows(450)
    file = folder.path / "job.yaml"
    file.write_text(ISSUE)
    assert main(["run", str(file)]) == 0
    parts = sorted(path.name for path in (folder.path / "out").glob("*.safetensors"))
    assert parts == ["part-000000.safetensors", "part-000001.safetensors", "part-000002.safetensors"]
    assert "3 of 3 shards, 450 rows" in capsys.readouterr().out


def test_a_result_holds_what_explain_gives(folder):
    x = torch.from_numpy(folder.rows(60))
    result = attrkit.run(folder.job())
    assert (result.done, result.shards, result.rows, result.failed) == (True, 6, 60, ())
    model = load_model("net.py:net", folder.path)
    expected = attrkit.explain(model, x, target=1, n_steps=4)
    found = dict(result.attributions())
    assert list(found) == list(range(60))
    values = torch.stack([value for each in found.values() for value in each.values()])
    torch.testing.assert_close(values, expected.values["x"])
    explanations = list(result.explanations())
    assert torch.cat([e.details["rows"] for e in explanations]).tolist() == list(range(60))
    torch.testing.assert_close(torch.cat([e.delta for e in explanations]), expected.delta, rtol=1e-3, atol=1e-6)
    assert {(e.method, e.options["n_steps"], e.target, e.seed) for e in explanations} == {("integrated_gradients", 4, 1, 0)}


@pytest.mark.slow
def test_every_executor_gives_the_same_bytes(folder):
    seen = {}
    for name, executor in (("inline", "inline"), ("local", {"kind": "local", "workers": 2})):
        result = attrkit.run(folder.job(f"{name}.yaml", executor=executor))
        assert result.done
        assert result.errors == {}
        seen[name] = hashes(result.folder)
    job = folder.job("torchrun.yaml")
    ended = torchrun("run", job, "--executor", "torchrun")
    assert ended.returncode == 0, ended.stderr
    seen["torchrun"] = hashes(folder.path / "torchrun")
    assert len(seen["inline"]) == 6 + 2
    assert seen["inline"] == seen["local"] == seen["torchrun"]


def test_torchrun_needs_its_environment(folder):
    with pytest.raises(UsageError, match="needs the environment that torchrun sets"):
        attrkit.run(folder.job(), executor="torchrun")


def test_ranks_share_the_work(folder, monkeypatch):
    job = folder.job()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, there, done in ((1, [1, 3, 5], False), (0, [0, 1, 2, 3, 4, 5], True)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        result = attrkit.run(job, executor="torchrun")
        assert [int(file.stem.removeprefix("part-")) for file in result.files] == there
        assert result.done is done
        assert (result.folder / "_SUCCESS").exists() is done


def test_threads_outside_make_no_difference(folder):
    before = torch.get_num_threads()
    seen = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            seen.append(hashes(attrkit.run(folder.job(f"with_{threads}.yaml")).folder))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("method", ["noise_tunnel(integrated_gradients)", "kernel_shap"])
def test_nothing_that_the_clock_decides_is_in_the_bytes(folder, monkeypatch, method):
    """Passes are not sized by how fast they were."""
    seen = []
    for jump in (0.0, 1.0):
        clock = iter(range(10**9))
        monkeypatch.setattr("attrkit.runner.sizing.Sizing._now", lambda self: next(clock) * (1 + jump * (next(clock) % 7)))  # noqa: B023
        job = folder.job(f"at_{jump}.yaml", method=method, shards={"rows": 30, "chunk": 7})
        seen.append(hashes(attrkit.run(job).folder))
    assert seen[0] == seen[1]


def test_shards_hold_no_place_and_no_time(folder, monkeypatch):
    import socket

    here = hashes(attrkit.run(folder.job("here.yaml")).folder)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setattr(time, "time", lambda: 1.0)
    there = hashes(attrkit.run(folder.job("there.yaml")).folder)
    assert here == there


@pytest.mark.parametrize("method", ["gradient_shap", "noise_tunnel(saliency)", "kernel_shap", "seed_average(gradient_shap)"])
def test_draws_belong_to_rows_whatever_the_shards(folder, method):
    """In double precision, so that only sums in another order are left of a difference."""
    (folder.path / "net.py").write_text((folder.path / "net.py").read_text().replace("return Net()", "return Net().double()"))
    x = folder.rows(60).astype("float64")
    np.save(folder.path / "x.npy", x)
    np.save(folder.path / "b.npy", x[:9])
    said = {"name": method, **({"baselines": "b.npy"} if "gradient_shap" in method else {})}
    if method == "kernel_shap":  # whose default fits a process to all examples of a pass
        said |= {"estimator": "leverage", "n_samples": 30}
    seen = []
    for rows, chunk in ((10, 10), (10, 3), (60, 17)):
        job = folder.job(f"with_{rows}_{chunk}.yaml", method=said, shards={"rows": rows, "chunk": chunk}, seed=3)
        found = dict(attrkit.run(job).attributions())
        seen.append(torch.stack([next(iter(found[row].values())) for row in range(60)]))
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=1e-9, atol=1e-12)
    assert len({tuple(row) for row in seen[0].tolist()}) == 60


def test_a_run_goes_on_with_what_is_missing(folder):
    job = folder.job()
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml")).folder)
    out = attrkit.run(job).folder
    for shard in (1, 4):
        (out / "_commits" / f"{shard:06d}.json").unlink()
    (out / "part-000002.safetensors").unlink()
    (out / "_SUCCESS").unlink()
    kept = {file.name: file.stat().st_mtime_ns for file in out.glob("part-*")}
    time.sleep(0.01)
    assert attrkit.run(job).done
    assert hashes(out) == undisturbed
    again = {file.name for file in out.glob("part-*") if kept.get(file.name) != file.stat().st_mtime_ns}
    assert again == {f"part-{shard:06d}.safetensors" for shard in (1, 2, 4)}


def test_a_finished_job_computes_nothing(folder, monkeypatch):
    job = folder.job()
    attrkit.run(job)
    monkeypatch.setattr("attrkit.jobs.computing.Calculation.shard", None)
    assert attrkit.run(job).done


@pytest.mark.slow
def test_a_driver_killed_in_the_middle(folder):
    """What is committed stays, the rest is done by the next run, and the bytes are those of an undisturbed one."""
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml", model="net.py:slow")).folder)
    job = folder.job("killed.yaml", model="net.py:slow")
    out = folder.path / "killed"
    driver = subprocess.Popen([sys.executable, "-m", "attrkit", "run", str(job)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(out.glob("_commits/*.json"))) < 2:
        assert time.monotonic() < until
        assert driver.poll() is None
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("_commits/*.json")}
    assert 2 <= len(before) < 6
    assert not (out / "_SUCCESS").exists()
    (out / "part-000005.safetensors.dead.unfinished").write_bytes(b"half of it")
    result = attrkit.run(job)
    assert result.done
    assert hashes(out) == undisturbed
    after = {file.name: file.stat().st_mtime_ns for file in out.glob("_commits/*.json")}
    assert {name for name in after if before.get(name) == after[name]} == set(before)


@pytest.mark.slow
def test_a_killed_worker_is_replaced(folder, monkeypatch):
    """Its shard is begun again; the bytes are those of an undisturbed run."""
    import attrkit_executors.local as pool

    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml")).folder)
    job = folder.job("killed.yaml", executor={"kind": "local", "workers": 2})
    started, killed = [], []
    popen = subprocess.Popen

    def noting(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", noting)
    asked = pool._Process.asked

    def killing(self, line):
        if line == "3" and not killed:
            killed.append(self.process.pid)
            os.kill(self.process.pid, signal.SIGKILL)
        return asked(self, line)

    monkeypatch.setattr(pool._Process, "asked", killing)
    result = attrkit.run(job)
    assert killed
    assert result.done
    assert result.errors == {}
    assert hashes(result.folder) == undisturbed
    assert all(process.poll() is not None for process in started)


@pytest.mark.slow
def test_nothing_is_begun_after_an_interruption(folder, monkeypatch):
    """Workers are ended, not awaited, and none is started in their place."""
    import attrkit_executors.local as pool

    started, popen = [], subprocess.Popen

    def noting(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(pool.subprocess, "Popen", noting)
    text = (folder.path / "net.py").read_text().replace("sleep(0.02)", "sleep(0.5)")
    (folder.path / "net.py").write_text(text)
    job = jobs.read_job(folder.job(model="net.py:slow", method="saliency", shards={"rows": 1}))
    plan = _begun(job, Ledger(job.out))
    work = attrkit.ShardWork(
        shards=tuple(range(60)),
        shards_in_all=60,
        retries=3,
        said=job.said,
        folder=str(job.folder),
        plan=plan.to_json(),
    )
    each = pool.local(work, workers=2)
    next(each)
    each.close()
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_is_given_up(folder):
    text = (folder.path / "net.py").read_text().replace('raise ArithmeticError("a row is corrupt")', "os._exit(7)")
    (folder.path / "net.py").write_text(text)
    folder.rows(60, [25], 999)
    result = attrkit.run(folder.job(on_error={"retries": 1}), executor={"kind": "local", "workers": 2})
    assert not result.done
    assert list(result.errors) == [2]
    assert "ended with exit code 7 (2 times)" in result.errors[2]
    assert len(result.files) == 5


@pytest.mark.slow
def test_a_worker_that_cannot_begin_says_why(folder, capfd):
    text = (folder.path / "net.py").read_text() + "\nif 'attrkit.jobs.worker' in __import__('sys').argv[0].replace('/', '.'):\n"
    (folder.path / "net.py").write_text(text + "    raise OSError('no weights here')\n")
    with pytest.raises(UsageError, match="worker .: UsageError: model 'net.py:net': .*no weights here"):
        attrkit.run(folder.job(), executor="local")


def test_one_per_cent_of_corrupt_rows(folder, capsys):
    """The job finishes, lists them, and delivers all others."""
    corrupt = [3, 17, 101]
    folder.rows(300, corrupt)
    job = folder.job(shards={"rows": 50})
    assert main(["run", str(job)]) == 0
    assert "3 rows have no attributions" in capsys.readouterr().err
    lines = [json.loads(line) for line in (folder.path / "job" / "_failed.jsonl").read_text().splitlines()]
    assert [(line["row"], line["shard"]) for line in lines] == [(3, 0), (17, 0), (101, 2)]
    assert all("not finite" in line["error"] for line in lines)
    found = dict(jobs.status(job).attributions())
    assert sorted(set(range(300)) - set(found)) == corrupt
    assert main(["run", str(job), "--strict"]) == 1


def test_rows_that_make_the_model_raise_are_found(folder):
    folder.rows(60, [5, 6, 31], 999)
    x = torch.from_numpy(folder.rows(60, [5, 6, 31], 999))
    result = attrkit.run(folder.job())
    assert [each["row"] for each in result.failed] == [5, 6, 31]
    assert all("a row is corrupt" in each["error"] for each in result.failed)
    assert result.rows == 57
    expected = attrkit.explain(load_model("net.py:net", folder.path), x[7:30], target=1, n_steps=4).values["x"]
    found = dict(result.attributions())
    torch.testing.assert_close(torch.stack([next(iter(found[row].values())) for row in range(7, 30)]), expected)


def test_an_error_of_all_rows_is_the_jobs(folder, capsys):
    result = attrkit.run(folder.job(target=7))
    assert not result.done
    assert result.files == ()
    assert list(result.errors) == [0]  # which ends the job
    said = (
        "of 16 rows from all over the data set, none can be explained; 16 of them end in UsageError: target 7 is out of range"
    )
    assert said in result.errors[0]
    assert main(["run", str(folder.job(target=7))]) == 1
    assert "the job ended there; shards still to be done: 5" in capsys.readouterr().err


def test_a_bad_row_may_end_the_job(folder):
    folder.rows(60, [25])
    result = attrkit.run(folder.job(on_error={"then": "fail"}))
    assert list(result.errors) == [2]
    assert "row 25" in result.errors[2]
    assert len(result.files) == 2  # which ends the job


def test_a_shard_is_tried_again(folder, monkeypatch):
    from attrkit.jobs import ledger

    written, failures = ledger.written, []

    def failing(path, pieces, **more):
        if path.name == "part-000003.safetensors" and len(failures) < 2:
            failures.append(path)
            raise OSError("the server does not answer")
        written(path, pieces, **more)

    monkeypatch.setattr(ledger, "written", failing)
    result = attrkit.run(folder.job(on_error={"retries": 2}))
    assert len(failures) == 2
    assert result.done
    failures.clear()
    result = attrkit.run(folder.job("once.yaml", on_error={"retries": 1}))
    assert result.errors == {3: "OSError: the server does not answer (2 times)"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_an_output_that_takes_nothing_more_ends_the_job(folder, monkeypatch, capsys, code):
    from attrkit.jobs import ledger

    written, tried = ledger.written, []

    def failing(path, pieces, **more):
        if path.name in ("part-000002.safetensors", "part-000003.safetensors"):
            tried.append(path.name)
            raise OSError(code, os.strerror(code))
        written(path, pieces, **more)

    monkeypatch.setattr(ledger, "written", failing)
    job = folder.job()
    assert main(["run", str(job)]) == 1
    assert tried == ["part-000002.safetensors"]
    said = capsys.readouterr().err
    assert f"shard 2: OSError: [Errno {code}] {os.strerror(code)}" in said or os.strerror(code) in said
    monkeypatch.setattr(ledger, "written", written)
    assert attrkit.run(job).done


def test_another_job_is_refused(folder):
    attrkit.run(folder.job())
    with pytest.raises(UsageError, match=r"begun with another plan: .*method\.n_steps was 4, is 8.*output\.path"):
        attrkit.run(folder.job(method={"name": "integrated_gradients", "n_steps": 8}))
    folder.job()
    x = folder.rows(60)
    x[59] += 1
    np.save(folder.path / "x.npy", x)
    with pytest.raises(UsageError, match=r"fingerprints\.data was"):
        attrkit.run(folder.path / "job.yaml")


def test_another_model_is_refused(folder, monkeypatch):
    job = folder.job()
    (folder.path / "seed").write_text("")
    seeded = (folder.path / "net.py").read_text().replace("manual_seed(0)", "manual_seed(os.path.getsize('seed'))")
    (folder.path / "net.py").write_text(seeded)
    monkeypatch.chdir(folder.path)
    out = attrkit.run(job).folder
    (out / "_commits" / "000003.json").unlink()
    (folder.path / "seed").write_text("1")
    with pytest.raises(UsageError, match="is not the one that this job was begun with"):
        attrkit.run(job)


def test_what_does_not_change_the_bytes_may_change(folder):
    out = attrkit.run(folder.job()).folder
    (out / "_commits" / "000003.json").unlink()
    assert attrkit.run(folder.job(on_error={"retries": 7}), executor="inline").done


def test_verify_finds_a_flipped_byte(folder, capsys):
    job = folder.job()
    out = attrkit.run(job).folder
    assert main(["run", str(job), "--verify"]) == 0
    part = out / "part-000002.safetensors"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    (out / "part-000004.safetensors").unlink()
    capsys.readouterr()
    assert main(["run", str(job), "--verify"]) == 1
    said = capsys.readouterr().out
    assert "part-000002.safetensors is not what was committed" in said
    assert "part-000004.safetensors was committed and is gone" in said
    (out / "_commits" / "000002.json").unlink()
    attrkit.run(job)
    assert jobs.verify(job) == []


def test_status_and_json(folder, capsys):
    job = folder.job()
    assert main(["run", str(job), "--status"]) == 2
    assert "no job was begun" in capsys.readouterr().err
    assert main(["run", str(job), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards_there"] == 6
    (folder.path / "job" / "_commits" / "000000.json").unlink()
    assert main(["run", str(job), "--status", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["shards_there"], said["rows"]) == (False, 5, 50)


def test_an_interruption_can_be_gone_on_from(folder, monkeypatch, capsys):
    from attrkit.jobs.computing import Calculation

    compute = Calculation.shard

    def interrupted(self, number):
        if number == 2:
            raise KeyboardInterrupt
        return compute(self, number)

    monkeypatch.setattr(Calculation, "shard", interrupted)
    job = folder.job()
    assert main(["run", str(job)]) == 130
    assert "goes on with the rest" in capsys.readouterr().err
    assert len(jobs.status(job).files) == 2
    monkeypatch.setattr(Calculation, "shard", compute)
    assert main(["run", str(job)]) == 0


def test_progress_counts_the_rows_that_are_there(folder, capsys):
    job = folder.job()
    out = attrkit.run(job).folder
    for shard in range(3):
        (out / "_commits" / f"{shard:06d}.json").unlink()
    attrkit.run(job, show_progress=True)
    said = capsys.readouterr().err
    assert "3 of 6 shards there" in said
    assert "60/60" in said
    assert "row/s" in said


def test_the_index_names_every_row(folder):
    folder.rows(60, [25])
    out = attrkit.run(folder.job()).folder
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [row for row in range(60) if row != 25]
    for line in lines[::7]:
        shard = Shard.of(out / f"part-{line['shard']:06d}.safetensors")
        assert int(shard.rows[line["place"]]) == line["row"]
        assert float(shard.tensors["output"][line["place"]]) == pytest.approx(line["output"])


def test_layers_targets_and_a_dtype(folder):
    job = folder.job(layer=["layers.0", "layers.1"], target="predicted", output={"path": "out", "dtype": "float16"})
    explanation = next(attrkit.run(job).explanations())
    assert {name: tuple(v.shape) for name, v in explanation.values.items()} == {"layers.0": (10, 16), "layers.1": (10, 16)}
    assert {v.dtype for v in explanation.values.values()} == {torch.float16}
    assert explanation.delta.shape == (2, 10)
    assert len(explanation.target) == 10


def test_files_of_baselines_and_rulesets_lie_beside_the_job(folder):
    np.save(folder.path / "zeros.npy", np.full((1, 6), 0.5))
    job = folder.job(method={"name": "integrated_gradients", "n_steps": 4, "baselines": "zeros.npy"})
    x = torch.from_numpy(folder.rows(60))
    expected = attrkit.explain(load_model("net.py:net", folder.path), x[:10], target=1, n_steps=4, baselines=0.5).values["x"]
    torch.testing.assert_close(next(attrkit.run(job).explanations()).values["x"], expected)
    (folder.path / "mine.yaml").write_text(RULES)
    result = attrkit.run(folder.job("rules.yaml", method={"name": "lrp", "rules": "mine.yaml"}))
    assert result.errors == {}
    assert next(result.explanations()).options["rules"] == "mine.yaml"  # wherever the job lies


def test_warnings_are_said_once(folder):
    (folder.path / "mine.yaml").write_text(RULES + "  - {id: none, match: {op: convolution}, rule: zplus}\n")
    job = folder.job(method={"name": "lrp", "rules": "mine.yaml"})
    with pytest.warns(AttrkitWarning) as caught:
        result = attrkit.run(job)
    assert len(caught) == len(result.warnings) == 1
    assert "mine.yaml:6" in result.warnings[0]


def test_executors_are_named(folder):
    with pytest.raises(UnknownName, match="no placement 'cloud'.*Known: inline, local, ray, torchrun"):
        attrkit.run(folder.job(), executor="cloud")
    with pytest.raises(UnknownName, match="local has no option 'wrkers'"):
        attrkit.run(folder.job(), executor={"kind": "local", "wrkers": 3})
    with pytest.raises(UsageError, match="workers must be at least 1"):
        attrkit.run(folder.job(), executor={"kind": "local", "workers": 0})
    with pytest.raises(UsageTypeError, match="executor must be"):
        attrkit.run(folder.job(), executor={"workers": 3})


def test_a_third_party_adds_an_executor(folder):
    from attrkit.registry import registry

    used = []

    @attrkit.placement("backwards")
    def backwards(work: attrkit.ShardWork, *, note: int = 0):
        """Shards from the last to the first."""
        do = work.worker()
        for shard in reversed(work.shards):
            used.append((shard, note))
            yield do(shard)

    registry.register(backwards)
    try:
        assert attrkit.run(folder.job(), executor={"kind": "backwards", "note": 4}).done
    finally:
        registry.unregister("backwards")
    assert used == [(shard, 4) for shard in reversed(range(6))]


def test_a_folder_of_another_use_is_left_alone(folder):
    (folder.path / "job").mkdir()
    (folder.path / "job" / "part-x").write_text("mine")
    with pytest.raises(UsageError, match=r"holds part-x and no plan\.json"):
        attrkit.run(folder.job())


def test_a_commit_that_is_not_whole_is_none(folder):
    """It is not synced: after a loss of power it may be empty, or hold anything."""
    job = folder.job()
    out = attrkit.run(job).folder
    undisturbed = hashes(out)
    (out / "_commits" / "000001.json").write_bytes(b"")
    (out / "_commits" / "000002.json").write_bytes(bytes(40))
    (out / "_commits" / "000003.json").write_text("{")
    assert len(jobs.status(job).files) == 3
    assert len(jobs.verify(job)) == 3
    assert attrkit.run(job).done
    assert jobs.verify(job) == []
    assert hashes(out) == undisturbed


def test_the_commit_comes_after_the_synced_shard(folder, monkeypatch):
    """Which is what makes one sync for both safe."""
    seen = []

    def noting(name, where):
        kept = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, **more: (seen.append((name, *where(args))), kept(*args, **more))[1])

    noting("fsync", lambda args: (Path(f"/proc/self/fd/{args[0]}").readlink().name.partition(".")[0],))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append(("replace", b.name.partition(".")[0])), replace(a, b))[1])
    attrkit.run(folder.job(shards={"rows": 60}))
    about = [each for each in seen if each[1] in ("part-000000", "000000")]
    assert about == [("fsync", "part-000000"), ("replace", "part-000000"), ("replace", "000000")]


def test_a_damaged_ledger_is_said(folder):
    job = folder.job()
    out = attrkit.run(job).folder
    (out / "plan.json").write_text("{}")
    with pytest.raises(AttrkitError, match=r"plan\.json is no plan of a job"):
        attrkit.run(job)


def test_the_exit_status_of_status(folder, capsys):
    folder.rows(60, [7])
    job = folder.job()
    assert main(["run", str(job)]) == 0
    assert main(["run", str(job), "--status"]) == 0
    assert main(["run", str(job), "--status", "--strict"]) == 1
    (folder.path / "job" / "_commits" / "000001.json").unlink()
    assert main(["run", str(job), "--status"]) == 1
    assert "5 of 6 shards" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--status", "--verify"], "--status would do nothing beside --verify; give one of them"),
        (["--verify", "--executor", "local"], "--executor would do nothing beside --verify"),
        (["--status", "--workers", "2"], "--workers would do nothing beside --status"),
        (["--verify", "--strict"], "--strict would do nothing beside --verify"),
    ],
)
def test_what_contradicts_itself_is_refused(folder, capsys, options, said):
    assert main(["run", str(folder.job()), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("method", ["integrated_gradients", "conductance"])
def test_an_option_may_be_called_as_an_argument_is(folder, method):
    """Like method, which says how the integral is taken."""
    layer = "layers.0" if method == "conductance" else None
    result = attrkit.run(folder.job(method={"name": method, "method": "riemann_left", "n_steps": 4}, layer=layer))
    assert result.errors == {}
    x, model = torch.from_numpy(folder.rows(60)), load_model("net.py:net", folder.path)
    expected = attrkit.explain(model, x[:10], method, target=1, layer=layer, options={"method": "riemann_left", "n_steps": 4})
    (found,) = next(result.explanations()).values.values()
    torch.testing.assert_close(found, *expected.values.values())


@pytest.mark.parametrize("device", ["meta", "mps", "cuda:99", "gpu"])
def test_a_device_that_cannot_be_used_is_said(folder, device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match=rf"device '{device}' cannot be used here: .*; expected cpu, or cuda"):
        attrkit.run(folder.job(device=device))


def test_a_module_in_use_is_left_alone(folder, monkeypatch):
    """A name may stand for a module that the caller trains."""
    monkeypatch.setattr(sys, "path", [os.fspath(folder.path), *sys.path])
    (folder.path / "planted_live.py").write_text((folder.path / "net.py").read_text() + "\n\nlive = net().train()\n")
    try:
        live = load_object("planted_live:live", folder.path)
        result = attrkit.run(folder.job(model="planted_live:live"))
        assert result.done
        assert live.training
        assert load_model("planted_live:live", folder.path) is not live
    finally:
        sys.modules.pop("planted_live", None)


def test_a_module_that_cannot_be_copied_is_said(folder):
    text = (folder.path / "net.py").read_text() + "\n\nlive = net()\nlive.lock = __import__('threading').Lock()\n"
    (folder.path / "net.py").write_text(text)
    with pytest.raises(UsageError, match="copying it failed: TypeError.*; name a function that makes it anew"):
        attrkit.run(folder.job(model="net.py:live"))


def test_the_index_is_json_where_a_number_is_not_finite(folder):
    """JSON has no infinity: here of a delta, as the model has none at the baseline."""
    (folder.path / "net.py").write_text((folder.path / "net.py").read_text().replace("self.layers(x)", "1 / x[:, :3]"))
    np.save(folder.path / "x.npy", np.ones((20, 6), np.float32))
    out = attrkit.run(folder.job()).folder
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (out / "index.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    assert {line["delta"] for line in lines} == {None}


def test_ray_waits_for_shards_as_long_as_they_take():
    """Patience is for actors that do not begin."""
    from attrkit_executors.ray import _Actors

    waited = []
    engine = SimpleNamespace(wait=lambda _, timeout: (waited.append(timeout), ([], []))[1])
    queue = attrkit.ShardQueue([0, 1], retries=0)
    for shard in (None, 1):
        actors = _Actors(engine, None, None, queue, doing={"a": (0, None), "b": (1, shard)})
        with pytest.raises(AttrkitError, match="no actor began in 3 s"):
            actors.answer(3.0)
    assert waited == [3.0, None]
