"""Several runs at one output folder, and jobs that are begun anew: nothing is mixed, nothing is lost."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import attrkit
from attrkit import jobs
from attrkit.cli import main
from attrkit.errors import UsageError
from attrkit.jobs.ledger import Ledger, written
from attrkit.jobs.running import _begun
from attrkit.registry import registry
from tests.jobs.conftest import RULES, hashes


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(folder):
    undisturbed = hashes(attrkit.run(folder.job("undisturbed.yaml")).folder)
    job = folder.job("both.yaml", on_error={"retries": 0})
    runs = [subprocess.Popen([sys.executable, "-m", "attrkit", "run", str(job)], stderr=subprocess.PIPE) for _ in range(2)]
    said = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert jobs.verify(job) == []
    assert hashes(folder.path / "both") == undisturbed


def test_what_another_run_swept_away_is_in_place(folder, monkeypatch):
    """A run that ends the job removes what is left of killed ones, and may take this one's file for that."""
    attrkit.run(folder.job())
    place = folder.path / "job" / "part-000000.safetensors"
    data = place.read_bytes()

    def sweep(*_):
        for left in place.parent.glob("*.unfinished"):
            left.unlink()

    monkeypatch.setattr(os, "fsync", sweep)
    written(place, [data])
    assert place.read_bytes() == data
    with pytest.raises(FileNotFoundError):
        written(place.with_name("part-000009.safetensors"), [data])


def test_a_job_of_which_nothing_is_done_may_be_changed(folder):
    """The first attempt is often wrong."""
    assert attrkit.run(folder.job(target=7)).errors
    assert attrkit.run(folder.job(target=1)).done
    with pytest.raises(UsageError, match="begun with another plan: target was 1, is 2"):
        attrkit.run(folder.job(target=2))


def test_a_model_with_other_weights_each_time_is_refused(folder):
    file = folder.path / "net.py"
    seeded = file.read_text()
    file.write_text(seeded.replace("    torch.manual_seed(0)\n", ""))
    for _ in range(2):
        with pytest.raises(UsageError, match=r"has other weights each time that it is made: call torch\.manual_seed"):
            attrkit.run(folder.job())
    file.write_text(seeded)
    assert attrkit.run(folder.job()).done


def test_what_the_model_is_made_from_is_compared(folder):
    """Also where nothing is missing, and where its structure does not tell what changed."""
    attrkit.run(folder.job())
    file = folder.path / "net.py"
    file.write_text(file.read_text().replace("return self.layers(x)", "return -self.layers(x)"))
    with pytest.raises(UsageError, match=r"fingerprints\.code was"):
        attrkit.run(folder.path / "job.yaml")


def test_weights_and_rulesets_are_compared(folder):
    import torch
    from safetensors.torch import save_file

    from attrkit.loading.models import load_model

    state = load_model("net.py:net", folder.path).state_dict()
    save_file(state, folder.path / "w.safetensors")
    (folder.path / "mine.yml").write_text(RULES)
    job = folder.job(model="net.py:net+weights=w.safetensors", method={"name": "lrp", "rules": "mine.yml"})
    assert attrkit.run(job).done
    save_file({name: torch.zeros_like(t) for name, t in state.items()}, folder.path / "w.safetensors")
    (folder.path / "mine.yml").write_text(RULES.replace("epsilon", "zplus"))
    with pytest.raises(UsageError, match=r"(?s)fingerprints\.rules was.*fingerprints\.weights was"):
        attrkit.run(job)


def test_rulesets_that_a_ruleset_extends_are_compared(folder):
    """Also where these extend others."""
    head = "schema: attrkit/ruleset@1\nname: {}\nextends: [{}]\n"
    (folder.path / "mine.yaml").write_text(head.format("mine", "sub/parent.yaml, epsilon_plus"))
    (folder.path / "sub").mkdir()
    (folder.path / "sub" / "parent.yaml").write_text(head.format("parent", "grandparent.yaml"))
    (folder.path / "sub" / "grandparent.yaml").write_text(RULES)
    job = folder.job(method={"name": "lrp", "rules": "mine.yaml"})
    result = attrkit.run(job)
    assert result.done
    (result.folder / "_commits" / "000001.json").unlink()
    (folder.path / "sub" / "grandparent.yaml").write_text(RULES.replace("epsilon", "zplus"))
    with pytest.raises(UsageError, match=r"fingerprints\.rules was"):
        attrkit.run(job)
    (folder.path / "sub" / "grandparent.yaml").write_text(RULES)
    assert attrkit.run(job).done


def test_a_byte_in_the_middle_of_the_data_is_seen(folder):
    x = folder.rows(60_000)
    job = folder.job(shards={"rows": 30_000})
    ledger = Ledger(jobs.read_job(job).out)
    plan = _begun(jobs.read_job(job), ledger)
    x[31_000, 3] += 1
    np.save(folder.path / "x.npy", x)
    assert _begun(jobs.read_job(job), ledger).digest != plan.digest


def test_a_run_whose_folder_another_job_took_over_ends(folder, monkeypatch):
    """Nothing of it was done yet, so that the other one could."""
    from attrkit.jobs.computing import Calculation

    first, other = folder.job("first.yaml", output="out"), folder.job("other.yaml", output="out", target=2)
    compute, entered = Calculation.shard, []

    def meanwhile(self, number):
        if not entered:
            entered.append(number)
            _begun(jobs.read_job(other), Ledger(folder.path / "out"))
        return compute(self, number)

    monkeypatch.setattr(Calculation, "shard", meanwhile)
    result = attrkit.run(first)
    assert "another job was begun in it, while this one ran" in result.errors[0]
    assert list((folder.path / "out").glob("part-*")) == []
    assert attrkit.run(other).done


def test_the_first_of_two_plans_stays(folder):
    ledger = Ledger(folder.path / "out")
    plans = []
    for target in (1, 2):
        job = jobs.read_job(folder.job(f"{target}.yaml", output=f"o{target}", target=target))
        plans.append(_begun(job, Ledger(job.out)))
    barrier, there = threading.Barrier(2), []

    def note(plan):
        barrier.wait()
        there.append(ledger._note(plan, anew=False).digest)

    threads = [threading.Thread(target=note, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(there) == 2
    assert len(set(there)) == 1


def test_a_file_system_without_links(folder, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    assert attrkit.run(folder.job()).done


def test_what_an_executor_said_nothing_of_is_no_success(folder, capsys):
    @attrkit.placement("half")
    def half(work: attrkit.ShardWork):
        """Every other shard."""
        do = work.worker()
        return (do(shard) for shard in work.shards[::2])

    registry.register(half)
    try:
        assert main(["run", str(folder.job()), "--executor", "half"]) == 1
        said = capsys.readouterr().err
        assert "shard 1: executor 'half' ended, and said nothing of this shard; run the job again" in said
        assert not (folder.path / "job" / "_SUCCESS").exists()
        assert main(["run", str(folder.job()), "--executor", "inline"]) == 0
    finally:
        registry.unregister("half")


def test_a_process_that_does_its_share_says_so(folder, monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["run", str(folder.job()), "--executor", "torchrun"]) == 0
    assert "other processes that run this job do the rest" in capsys.readouterr().err


def test_files_beside_the_shards_are_verified(folder):
    job = folder.job()
    out = attrkit.run(job).folder
    (out / "index.jsonl").write_text("{}\n")
    assert jobs.verify(job) == ["index.jsonl is not what was written; remove _SUCCESS and run the job again"]
    (out / "_SUCCESS").write_text("{")
    assert jobs.verify(job) == ["_SUCCESS cannot be read; remove it and run the job again"]
    (out / "_SUCCESS").unlink()
    attrkit.run(job)
    assert jobs.verify(job) == []


@pytest.mark.parametrize("output", ["x.npy", "x.npy/out"])
def test_an_output_that_is_no_folder_is_said(folder, output, capsys):
    assert main(["run", str(folder.job(output=output))]) == 2
    assert "is no folder" in capsys.readouterr().err
