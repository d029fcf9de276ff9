"""Files for Grafana's provisioning have its keys, and no password."""

from gpufleet_dashboards.provision import Source, datasource, provider

SOURCE = Source("db:5432", "fleet", "reader", "verify-full")


def test_the_data_source() -> None:
    """Which the boards take first, found as whom and where it was said."""
    (found,) = datasource(SOURCE)["datasources"]
    assert (found["uid"], found["type"]) == ("gpufleet-pg", "grafana-postgresql-datasource")
    assert (found["url"], found["user"], found["access"]) == ("db:5432", "reader", "proxy")
    assert (found["jsonData"]["database"], found["jsonData"]["sslmode"]) == ("fleet", "verify-full")


def test_the_password_is_grafanas_to_find() -> None:
    """In its environment, or in a file of its machine."""
    (found,) = datasource(SOURCE)["datasources"]
    assert found["secureJsonData"] == {"password": "${GPUFLEET_READER_PASSWORD}"}
    (found,) = datasource(Source("db:5432", "fleet", "reader", "require", "/run/secrets/reader"))["datasources"]
    assert found["secureJsonData"] == {"password": "$__file{/run/secrets/reader}"}


def test_what_postgresql_s_certificate_is_signed_with() -> None:
    """A file of Grafana's machine, by the names that its PostgreSQL data source has for it; else nothing is said."""
    verified = Source("db:5432", "fleet", "reader", "verify-ca", sslrootcert="/etc/db-ca.pem")
    (found,) = datasource(verified)["datasources"]
    assert found["jsonData"]["sslRootCertFile"] == "/etc/db-ca.pem"
    assert found["jsonData"]["tlsConfigurationMethod"] == "file-path"
    (found,) = datasource(Source("db:5432", "fleet", "reader", "require"))["datasources"]
    assert not {"sslRootCertFile", "tlsConfigurationMethod"} & found["jsonData"].keys()


def test_where_the_boards_are() -> None:
    """In a folder of their own, read again when it changes."""
    (found,) = provider("/etc/boards")["providers"]
    assert (found["type"], found["folder"], found["folderUid"]) == ("file", "gpufleet", "gpufleet")
    assert found["options"]["path"] == "/etc/boards"
