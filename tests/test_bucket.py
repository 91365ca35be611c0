"""Data and run directory in a bucket (S3's protocol, served by moto): the same file, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished
from run_fixture import invoke, outputs

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A filesystem on an S3 endpoint of this process, with the bucket `lake`."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    lake = s3fs.S3FileSystem()
    lake.mkdir("lake")
    yield lake
    lake.rm("lake", recursive=True)  # what the endpoint holds outlives it
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_run_from_bucket_to_bucket_gives_the_bytes_of_a_local_run(
    finished: Finished, bucket: Any, tmp_path: Path
) -> None:
    bucket.put(f"{finished.corpus}/", "lake/data/", recursive=True)
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(finished.mixture.read_text().replace(str(finished.corpus), "s3://lake/data"))
    done = invoke("run", mixture, "-o", "s3://lake/run", "--workers", 1)
    assert done.exit_code == 0, done.output
    bucket.invalidate_cache()
    bucket.get("lake/run/", str(tmp_path / "run"), recursive=True)
    found = outputs(tmp_path / "run")
    assert sorted(found) == sorted(finished.bytes)
    assert [name for name in found if found[name] != finished.bytes[name]] == []
    again = invoke("run", mixture, "-o", "s3://lake/run", "--workers", 1)
    assert "nothing to do" in again.output
    rows = invoke("sql", "s3://lake/run", "SELECT count(*) > 0 AS some FROM documents", "--json")
    assert rows.output.strip() == '{"some": true}'


def test_a_run_in_a_bucket_is_verified_and_traced_where_it_lies(finished: Finished, bucket: Any) -> None:
    bucket.put(f"{finished.root}/", "lake/run/", recursive=True)
    good = invoke("verify", "s3://lake/run")
    assert good.exit_code == 0, good.output
    place = "4K-00000-0000:0:77"
    here, there = (invoke("trace", root, place) for root in (finished.root, "s3://lake/run"))
    assert here.exit_code == there.exit_code == 0
    assert there.output == here.output
    shard = sorted(bucket.ls("lake/run/shards"))[0]
    data = bytearray(bucket.cat_file(shard))
    data[5000] ^= 1
    bucket.pipe_file(shard, bytes(data))
    bucket.rm(sorted(bucket.ls("lake/run/shards"))[1])
    bucket.invalidate_cache()
    bad = invoke("verify", "s3://lake/run", "--sample", 0)
    assert bad.exit_code == 1
    assert f"{shard.rsplit('/')[-1]}: its bytes are not those written" in bad.output
    assert "there is no such file" in bad.output
