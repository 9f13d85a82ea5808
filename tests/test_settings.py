"""Settings: where they come from, what is accepted, and how what is not accepted is told."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.administrator_settings import load_credentials
from pynun.errors import SettingsError
from pynun.protocol.framing import http_commands, websocket_commands, words
from pynun.secret_file import read_secret_file
from pynun.setting_values import Address, carriers_of_password, format_size, parse_address
from pynun.settings import (
    SETTINGS,
    CredentialsMissingError,
    Durability,
    Settings,
    load,
)
from pynun.storage.schema import FILES

CREDENTIALS = {"NUN_USER": "root", "NUN_PWD": "hidden-pwd"}

# Section 6 of the protocol: what the original reads from the environment.
VARIABLES_OF_THE_ORIGINAL = {
    "NUN_USER", "NUN_PWD", "NUN_DBS_DIR", "NUN_WS_ADDR", "NUN_HTTP_ADDR", "NUN_TCP_ADDR", "NUN_REPLICATE_ADDR",
    "NUN_LOG_LEVEL", "NUN_ELECTION_TIMEOUT", "NUN_MAX_OP_LOG_SIZE", "NUN_DECLUTTER_INTERVAL", "NUN_STORAGE_STRATEGY",
    "NUN_S3_KEY_ID", "NUN_S3_SECRET_KEY", "NUN_S3_BUCKET", "NUN_S3_PREFIX", "NUN_S3_API_URL",
    # Not in section 6, but read by its newest version:
    "NUN_STORAGE_READ_STRATEGY", "NUN_STORAGE_WRITE_STRATEGY", "NUN_S3_READ_PREFIX", "NUN_S3_MAX_INFLIGHT_REQUESTS",
    "NUN_S3_NUMBER_OF_PARTITIONS", "NUN_S3_RETRY",
}  # fmt: skip


def loaded(**environ: str) -> Settings:
    """Return the settings of an environment that holds the credentials and these variables."""
    return load({**CREDENTIALS, **environ}, {})


def refused(**environ: str) -> str:
    """Return the error's text for such an environment."""
    with pytest.raises(SettingsError) as caught:
        loaded(**environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_those_of_the_original() -> None:
    assert loaded() == Settings(
        user="root",
        password="hidden-pwd",
        data_dir=Path("dbs"),
        websocket_address=Address("0.0.0.0", 3012),
        http_address=Address("0.0.0.0", 3013),
        tcp_address=Address("0.0.0.0", 3014),
        external_address=None,
        replicate_addresses=(),
        log_level="info",
        log_format="text",
        metrics=True,
        console=True,
        durability=Durability.ALWAYS,
        message_bytes_max=16 * 1024 * 1024,
        outbox_bytes_max=8 * 1024 * 1024,
        unfinished_bytes_max=64 * 1024 * 1024,
        key_bytes_max=8192,
        database_bytes_max=None,
        changes_per_second_max=None,
        audit_file=Path("audit.jsonl"),
        audit_bytes_max=10 * 1024 * 1024,
        audit_keep=10,
        run_as=None,
        tls_cert=None,
        tls_key=None,
        connections_max=10_000,
        connections_per_address_max=8_000,
        watches_max=10_000,
        keys_max=1_000_000,
        handshake_seconds=15,
        idle_seconds=45,
        allowed_origins=(),
        trusted_proxies=(),
        proxy_protocol="auto",
        backup_dir=None,
        backup_interval_seconds=86_400,
        backup_keep=7,
        is_keeping_old_format=True,
        login_burst=10,
        login_delay_seconds_max=60,
        argon2_memory_kib=19456,
        argon2_passes=2,
        argon2_lanes=1,
        etcd_urls=(),
        etcd_ca=None,
        etcd_cert=None,
        etcd_key=None,
        etcd_user=None,
        etcd_password=None,
        cluster_name="default",
        node_name=None,
        cluster_address=Address("0.0.0.0", 3015),
        cluster_external_address=None,
        cluster_ca=None,
        cluster_cert=None,
        cluster_key=None,
        is_cluster_plain=False,
        lease_seconds=3,
        has_fast_takeover=True,
        unknown=(),
        unused=(),
    )


def test_every_row_is_a_field_or_without_effect_and_says_what_it_does() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} - {"unused", "unknown"}
    assert {setting.field for setting in SETTINGS if setting.field} == fields
    assert all(setting.field or not setting.effect for setting in SETTINGS)
    assert all(setting.help.endswith(".") for setting in SETTINGS)
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_every_variable_of_the_original_is_accepted() -> None:
    assert {setting.name for setting in SETTINGS} >= VARIABLES_OF_THE_ORIGINAL


def test_the_command_line_wins_over_the_environment() -> None:
    settings = load(
        {**CREDENTIALS, "NUN_WS_ADDR": "127.0.0.1:1", "NUN_TCP_ADDR": "127.0.0.1:2"},
        {"NUN_WS_ADDR": "127.0.0.1:3", "NUN_USER": "other", "NUN_TCP_ADDR": None},
    )
    assert (settings.websocket_address.port, settings.tcp_address.port, settings.user) == (3, 2, "other")


def test_an_empty_variable_counts_as_not_set() -> None:
    empty = dict.fromkeys((setting.name for setting in SETTINGS if setting.name not in CREDENTIALS), "")
    assert loaded(**empty, NUN_PWD_FILE="") == loaded()


@pytest.mark.parametrize("missing", ["NUN_USER", "NUN_PWD"])
@pytest.mark.parametrize("value", [None, ""])
def test_without_user_or_password_there_is_no_start(missing: str, value: str | None) -> None:
    environ = {name: text for name, text in CREDENTIALS.items() if name != missing}
    if value is not None:
        environ[missing] = value
    told = f"^NUN_USER and NUN_PWD must be provided, and {missing} is missing: set these variables, or"
    with pytest.raises(CredentialsMissingError, match=told):
        load(environ, {})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3012", Address("127.0.0.1", 3012)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
        (":3014", Address("0.0.0.0", 3014)),
    ],
)
def test_an_address_is_accepted(text: str, address: Address) -> None:
    assert loaded(NUN_HTTP_ADDR=text).http_address == address


@pytest.mark.parametrize(
    "text",
    ["3012", "127.0.0.1", "a:b:1", "::1:3012", "[::1]", "[localhost]:1", "h:65536", "h:-1", "h :1", "http://h:1"],
)
def test_an_address_is_refused(text: str) -> None:
    accepted = "HOST:PORT, [IPv6]:PORT or :PORT, with a port from 0 to 65535"
    assert refused(NUN_TCP_ADDR=text) == f"NUN_TCP_ADDR: {text!r} is not accepted; accepted: {accepted}"


@given(st.from_regex(r"[a-z0-9.-]+", fullmatch=True) | st.ip_addresses(v=6).map(str), st.integers(0, 65535))
def test_an_address_is_read_as_it_is_written(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1048576", 1 << 20),
        ("64KiB", 64 << 10),
        ("16MiB", 16 << 20),
        ("16 mib", 16 << 20),
        ("1G", 1 << 30),
        ("2m", 2 << 20),
        ("5MB", 5_000_000),
        ("70000b", 70_000),
    ],
)
def test_a_size_is_accepted(text: str, size_bytes: int) -> None:
    assert loaded(NUN_MAX_OUTBOX_SIZE=text).outbox_bytes_max == size_bytes


@pytest.mark.parametrize("text", ["0", "-1", "10", "2GiB", "16 megabytes", "1.5MiB", "MiB", "1" * 400])
def test_a_size_is_refused(text: str) -> None:
    assert refused(NUN_MAX_MESSAGE_SIZE=text).endswith(
        " is not accepted; accepted: a number of bytes, or one with the unit KiB, MiB or GiB, from 1KiB to 1GiB"
    )


@given(st.integers(1024, 1024**3))
def test_a_size_is_read_as_it_is_written(size_bytes: int) -> None:
    assert loaded(NUN_MAX_MESSAGE_SIZE=format_size(size_bytes)).message_bytes_max == size_bytes


@pytest.mark.parametrize(("text", "level"), [("Info", "info"), ("TRACE", "trace"), ("off", "off")])
def test_a_log_level_is_accepted_in_any_case(text: str, level: str) -> None:
    assert loaded(NUN_LOG_LEVEL=text).log_level == level


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("NUN_LOG_LEVEL", "loud", "off, error, warn, info, debug or trace"),
        ("NUN_DURABILITY", "sometimes", "always or relaxed"),
        ("NUN_ARGON2_MEMORY_KIB", "7", "a whole number from 8 to 4194304"),
        ("NUN_ARGON2_PASSES", "two", "a whole number from 1 to 1000"),
        ("NUN_ARGON2_LANES", "0", "a whole number from 1 to 255"),
        ("NUN_ARGON2_LANES", "٣", "a whole number from 1 to 255"),
        ("NUN_DBS_DIR", "a\0b", "the path of a folder"),
        ("NUN_EXTERNAL_ADDR", "a b", "HOST:PORT"),
    ],
)
def test_a_value_that_is_not_accepted_is_told_with_what_is(name: str, text: str, accepted: str) -> None:
    assert refused(**{name: text}) == f"{name}: {text!r} is not accepted; accepted: {accepted}"


@pytest.mark.parametrize("file", [*FILES, *(f"../dbs/{name}" for name in FILES)])
def test_the_audit_trail_goes_into_no_file_of_the_store(file: str) -> None:
    """It would write into the data, cut its last line, and rename it when it is long."""
    assert ", ".join(("data.mdb", "lock.mdb", "server.lock")) in refused(NUN_AUDIT_FILE=file)


def test_an_error_names_the_option_when_the_value_came_from_it() -> None:
    with pytest.raises(SettingsError, match=r"^-w/--ws-address: 'x' is not accepted"):
        load(CREDENTIALS, {"NUN_WS_ADDR": "x"})


def test_each_lane_of_argon2_needs_its_memory() -> None:
    assert refused(NUN_ARGON2_MEMORY_KIB="31", NUN_ARGON2_LANES="4") == (
        "NUN_ARGON2_MEMORY_KIB: 31 is too little for 4 lanes; accepted: at least 32"
    )
    assert loaded(NUN_ARGON2_MEMORY_KIB="32", NUN_ARGON2_LANES="4").argon2_lanes == 4


def test_a_message_of_the_full_size_fits_into_what_may_be_unfinished() -> None:
    assert loaded(NUN_MAX_MESSAGE_SIZE="1KiB").unfinished_bytes_max == 64 * 1024**2
    assert loaded(NUN_MAX_MESSAGE_SIZE="32MiB").unfinished_bytes_max == 128 * 1024**2
    assert loaded(NUN_MAX_UNFINISHED_SIZE="64MiB").unfinished_bytes_max == 64 * 1024**2
    assert refused(NUN_MAX_UNFINISHED_SIZE="63MiB") == (
        "NUN_MAX_UNFINISHED_SIZE: 63MiB is too little for messages of 16MiB (NUN_MAX_MESSAGE_SIZE);"
        " accepted: at least 64MiB"
    )


def test_durability_can_be_relaxed() -> None:
    assert loaded(NUN_DURABILITY="Relaxed").durability is Durability.RELAXED


def test_what_has_no_effect_on_one_node_is_listed_when_set() -> None:
    settings = load(
        {**CREDENTIALS, "NUN_S3_SECRET_KEY": "s", "NUN_ELECTION_TIMEOUT": "whatever"},
        {"NUN_REPLICATE_ADDR": "a:1, b:2,"},
    )
    assert settings.unused == ("-r/--replicate-address", "NUN_ELECTION_TIMEOUT", "NUN_S3_SECRET_KEY")
    assert settings.replicate_addresses == ("a:1", "b:2")


def test_the_default_of_the_original_is_no_news() -> None:
    assert loaded(NUN_STORAGE_STRATEGY="disk", NUN_DECLUTTER_INTERVAL="300").unused == ()


@pytest.mark.parametrize("text", ["s3", "S3", "s3_patition", "azure"])
@pytest.mark.parametrize("of", ["", "READ_", "WRITE_"])
def test_data_can_t_be_kept_elsewhere_than_on_the_disk(of: str, text: str) -> None:
    name = f"NUN_STORAGE_{of}STRATEGY"
    assert refused(**{name: text}) == (
        f"{name}: {text!r} is not accepted; accepted: disk. This version can't keep data in S3: unset it,"
        " and keep NUN_DBS_DIR on a disk or volume that stays"
    )


def test_a_secret_comes_from_a_file_without_the_line_end(tmp_path: Path) -> None:
    for content in ("file pwd", "file pwd\n", "file pwd\r\n", "\ufefffile pwd\r\n"):
        (tmp_path / "pwd").write_bytes(content.encode())
        settings = load({"NUN_USER": "root", "NUN_PWD_FILE": str(tmp_path / "pwd")}, {})
        assert settings.password == "file pwd"
    assert load({"NUN_USER_FILE": str(tmp_path / "pwd"), "NUN_PWD": "x"}, {"NUN_USER": "option"}).user == "option"


def test_a_variable_and_its_file_exclude_each_other_unless_the_command_line_wins(tmp_path: Path) -> None:
    environ = {**CREDENTIALS, "NUN_PWD_FILE": str(tmp_path / "pwd")}
    with pytest.raises(SettingsError, match=r"^NUN_PWD and NUN_PWD_FILE are both set: keep one of them$"):
        load(environ, {})
    assert load(environ, {"NUN_PWD": "option-pwd"}).password == "option-pwd"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read: No such file or directory"),
        (b"", "is empty: write the secret into it"),
        (b"\n", "is empty: write the secret into it"),
        (b"\xef\xbb\xbf\r\n", "is empty: write the secret into it"),
        (b"\xff\xfe", "is not UTF-8 text (UTF-16? save it as UTF-8)"),
        ("\ufeffpwd\r\n".encode("utf-16-le"), "is not UTF-8 text (UTF-16? save it as UTF-8)"),
        ("pwd\r\n".encode("utf-16-be"), "is not UTF-8 text (UTF-16? save it as UTF-8)"),
        (b"x" * 70_000, "is too big for a secret: give a file that holds only the secret"),
    ],
)
def test_a_secret_file_that_is_none_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_secret_file(str(path), "NUN_PWD_FILE")
    assert str(caught.value) == f"NUN_PWD_FILE: the file {str(path)!r} {told}"


def test_an_empty_name_of_a_file_counts_as_none() -> None:
    with pytest.raises(CredentialsMissingError, match=r"must be provided, and NUN_PWD is missing"):
        load({"NUN_USER": "root", "NUN_PWD_FILE": ""}, {})
    with pytest.raises(CredentialsMissingError, match=r"must be provided: set"):
        load({}, {})


@pytest.mark.parametrize(
    "password",
    [
        *(
            "pwd",
            " p w d",
            "p;w",
            "pwd;",
            ";",
            "pwd ",
            "pwd\t",
            "pwd\u2028",
            "p\rw",
            "p\nw",
            "pwd\n",
            "p\u00a0",
            "\ufeffpwd",
        )
    ],
)
def test_a_password_is_judged_as_the_transports_read_it(password: str) -> None:
    """By the settings, by the warning at the start and by the commands, in one place."""
    sent = f"auth user {password}"
    is_one = words(sent) == ["auth", "user", password] and not re.search(r"[\r\ufeff]", password)
    readers = {"WebSocket": list(websocket_commands(sent)), "HTTP": list(http_commands(sent)), "TCP": [sent]}
    carriers = tuple(name for name, commands in readers.items() if is_one and commands == [sent])
    assert carriers_of_password(password) == carriers
    if carriers:
        assert load({"NUN_USER": "u", "NUN_PWD": password}, {}).password == password
    else:
        with pytest.raises(SettingsError, match="NUN_PWD: its value is not accepted"):
            load({"NUN_USER": "u", "NUN_PWD": password}, {})


def test_an_asterisk_is_no_origin() -> None:
    with pytest.raises(SettingsError, match="leave it unset to allow all"):
        load({**CREDENTIALS, "NUN_ALLOWED_ORIGINS": "*"}, {})


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        read_secret_file(str(tmp_path), "NUN_PWD_FILE")


@pytest.mark.parametrize("password", ["hidden\npwd", "hidden\rpwd", "hidden\udcff", "\ufeffhidden", "hidden;"])
def test_a_refused_secret_is_not_shown(password: str) -> None:
    told = refused(NUN_PWD=password)
    assert told.startswith("NUN_PWD: its value is not ")
    assert "hidden" not in told


def test_secrets_are_in_no_repr() -> None:
    assert "hidden-pwd" not in repr(loaded())
    assert "hidden-pwd" not in repr(load_credentials(CREDENTIALS, None, None))


def test_credentials_alone_may_be_incomplete() -> None:
    assert load_credentials({}, None, None) == (None, None)
    assert load_credentials({"NUN_PWD": "a"}, "u", None) == ("u", "a")


@given(st.sampled_from([setting.name for setting in SETTINGS]), st.text(max_size=30))
def test_any_text_gives_settings_or_an_error_of_one_line(name: str, text: str) -> None:
    told = ""
    try:
        load({**CREDENTIALS, name: text}, {})
    except SettingsError as error:
        told = str(error)
    assert told.isprintable()


def test_variables_that_begin_like_settings_and_are_none_are_named() -> None:
    environ = {"NUN_USER": "u", "NUN_PWD": "p", "NUN_ALLOWED_ORIGIN": "x", "NUN_TOKEN": "t", "NUN_CA": "c", "HOME": "/"}
    assert load(environ, {}).unknown == ("NUN_ALLOWED_ORIGIN",)
    assert load({"NUN_USER": "u", "NUN_PWD": "p"}, {}).unknown == ()


# --- a cluster -------------------------------------------------------------------------------------------------

PLAIN = {"NUN_ETCD": "http://127.0.0.1:2379", "NUN_CLUSTER_PLAIN": "1"}


def test_etcd_turns_the_cluster_on_with_smaller_messages() -> None:
    settings = loaded(**PLAIN)
    assert settings.etcd_urls == ("http://127.0.0.1:2379",)
    assert settings.message_bytes_max == 4 * 1024**2
    assert loaded(**PLAIN, NUN_MAX_MESSAGE_SIZE="16MiB").message_bytes_max == 16 * 1024**2


def test_without_etcd_the_settings_of_a_cluster_are_told_to_have_no_effect() -> None:
    settings = loaded(NUN_LEASE_SECONDS="5", NUN_CLUSTER_NAME="default", NUN_NODE_NAME="a")
    assert settings.unused == ("NUN_NODE_NAME", "NUN_LEASE_SECONDS")
    assert loaded(**PLAIN, NUN_NODE_NAME="a", NUN_REPLICATE_ADDR="other:3014").unused == ("NUN_REPLICATE_ADDR",)


def test_the_nodes_show_each_other_what_they_show_etcd_unless_told_otherwise() -> None:
    files = {"NUN_ETCD_CA": "ca.pem", "NUN_ETCD_CERT": "node.pem", "NUN_ETCD_KEY": "node-key.pem"}
    settings = loaded(NUN_ETCD="https://e:2379", **files)
    assert (settings.cluster_ca, settings.cluster_cert) == (Path("ca.pem"), Path("node.pem"))
    settings = loaded(NUN_ETCD="https://e:2379", **files, NUN_CLUSTER_CERT="own.pem", NUN_CLUSTER_KEY="own-key.pem")
    assert (settings.cluster_cert, settings.cluster_key) == (Path("own.pem"), Path("own-key.pem"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"NUN_DURABILITY": "relaxed"}, "NUN_DURABILITY=relaxed can't be used with NUN_ETCD"),
        ({"NUN_CLUSTER_PLAIN": "0"}, "set NUN_CLUSTER_CA, NUN_CLUSTER_CERT and NUN_CLUSTER_KEY"),
        ({"NUN_ETCD_CERT": "c.pem"}, "NUN_ETCD_CERT and NUN_ETCD_KEY need each other"),
        ({"NUN_CLUSTER_KEY": "k.pem"}, "NUN_CLUSTER_CERT and NUN_CLUSTER_KEY need each other"),
        ({"NUN_ETCD_USER": "u"}, "NUN_ETCD_USER and NUN_ETCD_PWD (or NUN_ETCD_PWD_FILE) need each other"),
        ({"NUN_MAX_MESSAGE_SIZE": "17MiB"}, "17MiB is too much for a cluster"),
        ({"NUN_ETCD": "127.0.0.1:2379"}, "http://HOST:PORT"),
        ({"NUN_ETCD": "http://e:0"}, "http://HOST:PORT"),
        ({"NUN_LEASE_SECONDS": "1"}, "from 2 to 60"),
        ({"NUN_NODE_NAME": "a b"}, "63 letters"),
    ],
)
def test_what_does_not_fit_a_cluster_is_refused(environ: dict[str, str], expected: str) -> None:
    assert expected in refused(**{**PLAIN, **environ})
