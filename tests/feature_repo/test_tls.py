"""Redis and PostgreSQL over TLS: the right authority is trusted, another refused, plain refused."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psycopg
import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

from feature_repo.metadata import connect
from feature_repo.store import create_store
from serving.supervisor import free_port
from tests.feature_repo.stores import REGISTRY

pytestmark = pytest.mark.services


class Certificates(NamedTuple):
    """Files: an authority, a server's certificate of it and its key, and another authority."""

    authority: Path
    certificate: Path
    key: Path
    stranger: Path


def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = certificate_of(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key


def certificate_of(subject: x509.Name, issuer: x509.Name, key: Any) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    mine, signing = authority("authority")
    other, _ = authority("stranger")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        certificate_of(subject, mine.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signing, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content = {
        "authority.pem": mine.public_bytes(pem),
        "server.pem": server.public_bytes(pem),
        "server.key": secret,
        "stranger.pem": other.public_bytes(pem),
    }
    for name, text in content.items():
        (folder / name).write_bytes(text)
    (folder / "server.key").chmod(0o600)
    return Certificates(*(folder / name for name in content))


def wait_for(ready: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            ready()
        except (OSError, redis.exceptions.RedisError, psycopg.Error):
            assert process.poll() is None, "the server ended"
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not start within 30 s")


def redis_with_tls() -> str:
    """Redis's server, if it can speak TLS."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server; on Debian: apt-get install redis-server")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "libssl" not in linked.stdout:
        pytest.skip(f"{program} was built without TLS; on Debian: apt-get install redis-server")
    return program


@pytest.fixture(scope="module")
def redis_tls(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """A port on which Redis speaks TLS only."""
    port = free_port()
    process = subprocess.Popen(
        [redis_with_tls(), "--port", "0", "--tls-port", str(port), "--save", "", "--bind",
         "127.0.0.1", "--tls-cert-file", str(certificates.certificate), "--tls-key-file",
         str(certificates.key), "--tls-ca-cert-file", str(certificates.authority),
         "--tls-auth-clients", "no", "--dir", str(tmp_path_factory.mktemp("redis-tls"))],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    client = redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificates.authority))
    wait_for(client.ping, process)
    yield port
    process.terminate()
    process.wait()


def store_in(folder: Path, connection: str) -> Any:
    """A store of one view, online in Redis."""
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    source = FileSource(name="t", path=str(folder / "t.parquet"), timestamp_field="ts")
    view = FeatureView(
        name="counts", entities=[user], schema=[Field(name="n", dtype=Int64)], source=source,
        ttl=timedelta(0),
    )  # fmt: skip
    online = {
        "type": "feature_repo.online.stores.RedisOnlineStore",
        "connection_string": connection,
    }
    store = create_store(folder / "store", online, {"type": "duckdb"}, REGISTRY)
    store.apply([user, view])
    return store


ROW = pd.DataFrame({"user": ["ann"], "n": [7], "ts": [datetime(2026, 1, 1, tzinfo=UTC)]})


def test_redis_with_the_right_authority(
    tmp_path: Path, redis_tls: int, certificates: Certificates
) -> None:
    options = f"ssl=true,ssl_ca_certs={certificates.authority},ssl_cert_reqs=required"
    store = store_in(tmp_path, f"localhost:{redis_tls},{options}")
    store.write_to_online_store("counts", ROW)
    assert store.get_online_features(["counts:n"], [{"user": "ann"}]).to_dict()["n"] == [7]


async def test_redis_with_the_right_authority_without_waiting(
    tmp_path: Path, redis_tls: int, certificates: Certificates
) -> None:
    options = f"ssl=true,ssl_ca_certs={certificates.authority}"
    store = store_in(tmp_path, f"localhost:{redis_tls},{options}")
    store.write_to_online_store("counts", ROW)
    found = await store.get_online_features_async(["counts:n"], [{"user": "ann"}])
    assert found.to_dict()["n"] == [7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ssl=true,ssl_ca_certs={stranger}", "CERTIFICATE_VERIFY_FAILED"),
        ("ssl=true", "CERTIFICATE_VERIFY_FAILED"),  # the system's authorities do not know it
        ("db=0", "closed|reset"),
    ],
)
def test_redis_without_it_is_refused(
    tmp_path: Path, redis_tls: int, certificates: Certificates, options: str, message: str
) -> None:
    settings = options.format(stranger=certificates.stranger)
    store = store_in(tmp_path, f"localhost:{redis_tls},{settings}")
    with pytest.raises(redis.exceptions.ConnectionError, match=message):
        store.write_to_online_store("counts", ROW)


def postgres_with_tls() -> Path:
    """The folder of PostgreSQL's programs, if its server can speak TLS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        linked = subprocess.run(["ldd", folder / "postgres"], capture_output=True, text=True)
        if "libssl" in linked.stdout:
            return folder
    pytest.skip("no PostgreSQL server with TLS; on Debian: apt-get install postgresql-15")


@pytest.fixture(scope="module")
def postgres_tls(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """A port on which PostgreSQL takes TLS connections only; user millrace needs a password."""
    programs = postgres_with_tls()
    root = os.geteuid() == 0
    account = pwd.getpwnam("postgres") if root else None  # it refuses to run as root
    folder = Path(tmp_path_factory.mktemp("pg")) if not root else Path("/tmp") / f"pg{free_port()}"
    folder.mkdir(exist_ok=True)
    who: dict[str, Any] = {}
    if account is not None:
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o644)
    for name in ("certificate", "key"):
        copy = folder / name
        shutil.copy(getattr(certificates, name), copy)
        copy.chmod(0o600)
        if account is not None:
            os.chown(copy, account.pw_uid, account.pw_gid)
    data, port = folder / "data", free_port()
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "millrace", "--auth=scram-sha-256",
         f"--pwfile={folder / 'password'}"],
        check=True, capture_output=True, cwd=folder, **who,
    )  # fmt: skip
    rules = folder / "hba"
    rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    rules.chmod(0o644)
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1",
         "-c", "ssl=on", "-c", f"ssl_cert_file={folder / 'certificate'}",
         "-c", f"ssl_key_file={folder / 'key'}", "-c", f"hba_file={rules}"],
        cwd=folder, stderr=subprocess.DEVNULL, **who,
    )  # fmt: skip
    url = f"host=localhost port={port} user=millrace password=secret dbname=postgres"
    wait_for(lambda: psycopg.connect(f"{url} sslmode=require").close(), process)
    yield port
    process.send_signal(signal.SIGINT)  # does not wait for open connections
    process.wait()
    shutil.rmtree(folder)


def registry(port: int, options: str) -> dict[str, Any]:
    path = f"postgresql+psycopg://millrace:secret@localhost:{port}/postgres?{options}"
    return {"registry_type": "sql", "path": path, "cache_ttl_seconds": 60}


ONLINE = {"type": "sqlite", "path": "online.db"}


def test_postgresql_with_the_right_authority(
    tmp_path: Path, postgres_tls: int, certificates: Certificates
) -> None:
    options = f"sslmode=verify-full&sslrootcert={certificates.authority}"
    store = create_store(tmp_path, ONLINE, {"type": "duckdb"}, registry(postgres_tls, options))
    store.apply([Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)])
    assert [e.name for e in store.list_entities()] == ["user"]
    with connect(tmp_path).connect() as connection:  # our own tables, by the same settings
        (encrypted,) = connection.exec_driver_sql(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).one()
    assert encrypted is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sslmode=verify-full&sslrootcert={stranger}", "certificate verify failed"),
        ("sslmode=disable", "no pg_hba.conf entry for host .*no encryption"),
    ],
)
def test_postgresql_without_it_is_refused(
    tmp_path: Path, postgres_tls: int, certificates: Certificates, options: str, message: str
) -> None:
    settings = options.format(stranger=certificates.stranger)
    with pytest.raises(Exception, match=message):
        create_store(
            tmp_path, ONLINE, {"type": "duckdb"}, registry(postgres_tls, settings)
        ).list_entities()
