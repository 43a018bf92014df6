from __future__ import annotations

import pickle
import re
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.errors import SettingsError
from orchestrator.settings import Calls, CarrierKind, LogFormat, Settings, example_toml, load_settings
from orchestrator.settings_sources import sections_of

WriteFile = Callable[[str], Path]
EXAMPLE = Path(__file__).parents[2] / "deploy" / "orchestrator.example.toml"
SECRET = "correct-horse"
LIVEKIT = {"LIVEKIT_URL": "wss://x.livekit.cloud", "LIVEKIT_API_KEY": "APIx", "LIVEKIT_API_SECRET": SECRET}
DELAYS = "two numbers from 0.1 to 86400, the smaller first; separated by a comma in the environment"
FIELDS = [(name, key, field) for name, section in sections_of(Settings).items() for key, field in section.model_fields.items()]


@pytest.fixture
def settings_file(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "orchestrator.toml"
        path.write_text(text)
        return path

    return write


def refusal(path: Path | None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environ or {})
    return str(caught.value)


# -- reading


def test_without_file_and_environment_everything_has_a_default() -> None:
    settings = load_settings(None, {})
    assert settings == Settings()
    assert settings.carrier.kind is CarrierKind.SIMULATED
    assert not settings.is_real
    assert settings.warnings == ()


def test_the_file_goes_before_defaults_and_the_environment_before_the_file(settings_file: WriteFile) -> None:
    path = settings_file("[worker]\nmax_calls = 7\nclaim_batch = 8\n")
    settings = load_settings(path, {"ORCHESTRATOR_WORKER__CLAIM_BATCH": "9"})
    assert (settings.worker.max_calls, settings.worker.claim_batch, settings.worker.poll_s) == (7, 9, 0.5)


def test_every_kind_of_value_can_come_from_the_environment() -> None:
    settings = load_settings(
        None,
        {
            "ORCHESTRATOR_LOG__FORMAT": "json",
            "ORCHESTRATOR_LOG__MASK_NUMBERS": "false",
            "ORCHESTRATOR_SIMULATED__MISSING_AGENTS": "nobody, nobody-else",
            "ORCHESTRATOR_CALLS__AGENT_DELAYS_S": "1, 20",
            "ORCHESTRATOR_CALLS__RING_TIMEOUT_S": "22.5",
            "ORCHESTRATOR_DATABASE__DATA_DIR": "/var/lib/x",
            "ORCHESTRATOR_DATABASE__URL": f"postgresql://u:{SECRET}@h/d",
        },
    )
    assert settings.log.format is LogFormat.JSON
    assert settings.log.mask_numbers is False
    assert settings.simulated.missing_agents == ("nobody", "nobody-else")
    assert settings.calls.agent_delays_s == (1.0, 20.0)
    assert settings.calls.ring_timeout_s == 22.5
    assert settings.database.data_dir == Path("/var/lib/x")
    assert settings.database.url.get_secret_value() == f"postgresql://u:{SECRET}@h/d"


def test_an_empty_variable_sets_an_empty_value(settings_file: WriteFile) -> None:
    path = settings_file("[simulated]\nmissing_agents = ['a']\n")
    assert load_settings(path, {"ORCHESTRATOR_SIMULATED__MISSING_AGENTS": ""}).simulated.missing_agents == ()


def test_the_environment_can_name_the_file_and_the_command_line_goes_before_it(
    settings_file: WriteFile, tmp_path: Path
) -> None:
    path = settings_file("[http]\nport = 1234\n")
    named = {"ORCHESTRATOR_SETTINGS_FILE": str(path)}
    assert load_settings(None, named).http.port == 1234
    other = tmp_path / "other.toml"
    other.write_text("")
    assert load_settings(other, named).http.port == 8080


def test_livekits_own_variables_are_read_for_what_nothing_else_names() -> None:
    environ = {"ORCHESTRATOR_CARRIER__KIND": "livekit", "ORCHESTRATOR_LIVEKIT__API_KEY": "APIours", **LIVEKIT}
    settings = load_settings(None, environ)
    assert settings.is_real
    assert settings.livekit.url == "wss://x.livekit.cloud"
    assert settings.livekit.api_key == "APIours"
    assert settings.livekit.api_secret.get_secret_value() == SECRET


def test_livekits_own_variables_change_nothing_with_the_simulated_carrier() -> None:
    assert load_settings(None, {**LIVEKIT, "LIVEKIT_URL": "garbage"}) == Settings()


def test_a_worker_without_a_name_has_the_hosts() -> None:
    assert load_settings(None, {}).worker.name == socket.gethostname()
    assert load_settings(None, {"ORCHESTRATOR_WORKER__NAME": "w1"}).worker.name == "w1"


def test_settings_cannot_be_changed_once_read() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.calls.ring_timeout_s = 1
    with pytest.raises(ValidationError):
        settings.calls = Calls()


# -- refusing


def test_all_that_is_wrong_with_a_file_is_told_at_once_with_file_key_value_and_what_is_allowed(
    settings_file: WriteFile,
) -> None:
    path = settings_file(
        """
        [databse]
        url = "postgres://h/d"
        [calls]
        ring_timeout = 3
        ring_timeout_s = 200
        agent_delays_s = [300, 5]
        host = "x"
        [log]
        format = "xml"
        [worker]
        max_calls = true
        """
    )
    assert sorted(refusal(path).splitlines()) == sorted(
        [
            f"{path}: unknown section [databse]; did you mean database? (known are {', '.join(sections_of(Settings))})",
            f"{path}: unknown key calls.ring_timeout; did you mean ring_timeout_s?",
            f"{path}: calls.ring_timeout_s = 200: must be a number from 5 to 60",
            f"{path}: calls.agent_delays_s = [300, 5]: must be {DELAYS}",
            f"{path}: unknown key calls.host; it belongs to [http]",
            f'{path}: log.format = "xml": must be one of console, json',
            f"{path}: worker.max_calls = true: must be a whole number from 1 to 20000",
        ]
    )


def test_a_wrong_value_from_the_environment_names_its_variable(settings_file: WriteFile) -> None:
    path = settings_file("[http]\nport = 80\n")
    assert refusal(path, {"ORCHESTRATOR_HTTP__PORT": "99999"}) == (
        'environment variable ORCHESTRATOR_HTTP__PORT: http.port = "99999": must be a whole number from 0 to 65535'
    )


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ORCHESTRATOR_DATABASE_URL", "did you mean ORCHESTRATOR_DATABASE__URL?"),
        ("ORCHESTRATOR_CALLS__RING_TIMEOUT", "did you mean ORCHESTRATOR_CALLS__RING_TIMEOUT_S?"),
        ("ORCHESTRATOR_DATABASE__URL__X", "did you mean ORCHESTRATOR_DATABASE__URL?"),
        ("ORCHESTRATOR_QUX__ZORK", "settings are named ORCHESTRATOR_SECTION__KEY"),
    ],
)
def test_an_unknown_variable_is_refused_without_its_value(variable: str, hint: str) -> None:
    said = refusal(None, {variable: SECRET})
    assert variable in said
    assert hint in said
    assert SECRET not in said


def test_variables_that_kubernetes_sets_beside_a_service_called_orchestrator_are_left_alone() -> None:
    environ = {
        "ORCHESTRATOR_PORT": "tcp://10.0.0.1:8080",
        "ORCHESTRATOR_SERVICE_HOST": "10.0.0.1",
        "ORCHESTRATOR_SERVICE_PORT": "8080",
        "ORCHESTRATOR_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert load_settings(None, environ) == Settings()


def test_a_syntax_error_is_told_with_its_line(settings_file: WriteFile) -> None:
    path = settings_file("[http]\nport = 80\nhost = \n")
    assert re.fullmatch(rf"{re.escape(str(path))}: is not TOML: .*line 3.*", refusal(path))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    assert "is not UTF-8" in refusal(latin)


def test_a_section_that_is_no_section_is_told_and_hides_nothing_else(settings_file: WriteFile) -> None:
    path = settings_file("http = 80\ncarrier = 'livekit'\n[log]\nlevel = 'loud'\n")
    said = refusal(path, {"ORCHESTRATOR_HTTP__PORT": "1"}).splitlines()
    assert f"{path}: http must be a section: write [http] and its keys below it" in said
    assert f"{path}: carrier must be a section: write [carrier] and its keys below it" in said
    assert f'{path}: log.level = "loud": must be one of debug, info, warning, error' in said


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("calls", "ring_timeout_s", "nan"),
        ("calls", "max_duration_s", "inf"),
        ("calls", "agent_delays_s", "5"),
        ("calls", "agent_delays_s", "5, x"),
        ("http", "host", ""),
        ("worker", "max_calls", "2.5"),
        ("worker", "max_calls", ""),
        ("log", "mask_numbers", "perhaps"),
        ("carrier", "kind", "twilio"),
        ("livekit", "url", "ftp://h"),
        ("livekit", "url", "livekit.cloud"),
        ("second_opinion", "url", "ftp://h"),
        ("database", "url", "mysql://h/d"),
    ],
)
def test_a_value_out_of_range_or_of_the_wrong_kind_is_refused(section: str, key: str, value: str) -> None:
    assert f"{section}.{key} = " in refusal(None, {f"ORCHESTRATOR_{section}__{key}".upper(): value})


def test_ring_time_and_allowance_must_fit_into_what_the_server_waits() -> None:
    environ = {"ORCHESTRATOR_CALLS__RING_TIMEOUT_S": "60", "ORCHESTRATOR_LIVEKIT__POST_DIAL_ALLOWANCE_S": "15"}
    assert load_settings(None, environ).calls.ring_timeout_s == 60
    said = refusal(None, environ | {"ORCHESTRATOR_LIVEKIT__POST_DIAL_ALLOWANCE_S": "15.5"})
    assert "must be at most 75 together with livekit.post_dial_allowance_s (15.5), not 75.5" in said


def test_the_livekit_carrier_needs_to_know_where_and_with_which_key() -> None:
    said = refusal(None, {"ORCHESTRATOR_CARRIER__KIND": "livekit", "LIVEKIT_URL": "ws://h"}).splitlines()
    assert said == [
        "settings: livekit.api_key is needed where carrier.kind is livekit (or the variable LIVEKIT_API_KEY)",
        "settings: livekit.api_secret is needed where carrier.kind is livekit (or the variable LIVEKIT_API_SECRET)",
    ]


def test_pools_and_leases_must_make_sense() -> None:
    assert "pool_max (10)" in refusal(None, {"ORCHESTRATOR_DATABASE__POOL_MIN": "11"})
    assert "must be at least 15" in refusal(None, {"ORCHESTRATOR_WORKER__LEASE_S": "14"})


def test_an_agent_is_warned_of_silence_before_the_call_is_ended_for_it_or_not_at_all() -> None:
    environ = {"ORCHESTRATOR_LISTENING__SILENCE_S": "20", "ORCHESTRATOR_LISTENING__SILENCE_WARNING_S": "20"}
    assert "must be below listening.silence_s (20), or 0 for none" in refusal(None, environ)
    assert load_settings(None, environ | {"ORCHESTRATOR_LISTENING__SILENCE_S": "0"}).listening.silence_warning_s == 20


def test_a_second_opinion_needs_a_model_to_ask() -> None:
    environ = {"ORCHESTRATOR_SECOND_OPINION__URL": "https://h/v1", "ORCHESTRATOR_SECOND_OPINION__API_KEY": SECRET}
    assert "second_opinion.model is needed where second_opinion.url is set" in refusal(None, environ)
    assert SECRET not in repr(load_settings(None, environ | {"ORCHESTRATOR_SECOND_OPINION__MODEL": "small"}))


def test_contradictions_are_refused_however_the_settings_are_made() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"database": {"pool_min": 5, "pool_max": 4}})


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        ({"ORCHESTRATOR_CALLS__RING_TIMEOUT_S": "14.9"}, "calls.ring_timeout_s is 14.9"),
        ({"ORCHESTRATOR_LIVEKIT__URL": "ws://h"}, "no phone will ring"),
        ({"ORCHESTRATOR_LOG__MASK_NUMBERS": "no"}, "log.mask_numbers is false"),
        ({"ORCHESTRATOR_CARRIER__KIND": "livekit", **LIVEKIT}, "database.url is not set"),
        ({"ORCHESTRATOR_CARRIER__KIND": "livekit", "ORCHESTRATOR_SIMULATED__SEED": "2", **LIVEKIT}, "section simulated"),
    ],
)
def test_what_is_allowed_and_probably_not_meant_is_a_warning(environ: dict[str, str], warning: str) -> None:
    assert any(warning in said for said in load_settings(None, environ).warnings)


# -- secrets


def test_secrets_are_in_no_text_made_of_settings() -> None:
    environ = {
        "ORCHESTRATOR_CARRIER__KIND": "livekit",
        "ORCHESTRATOR_DATABASE__URL": f"postgresql://u:{SECRET}@h:5432/d?password={SECRET}",
        **LIVEKIT,
    }
    settings = load_settings(None, environ)
    texts = (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump()), f"{settings.database.url}")
    for text in (*texts, settings.database.shown_url, *settings.warnings):
        assert SECRET not in text
    assert settings.database.shown_url == "postgresql://**********@h:5432/d"
    assert settings.livekit.api_secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORCHESTRATOR_DATABASE__URL", f"mysql://u:{SECRET}@h/d"),
        ("ORCHESTRATOR_LIVEKIT__URL", f"ws://u:{SECRET}@h"),
        ("ORCHESTRATOR_LIVEKIT__URL", f"wss//u:{SECRET}@h"),
        ("ORCHESTRATOR_LIVEKIT__URL", f"https:/u:p@{SECRET}@h"),
        ("ORCHESTRATOR_LIVEKIT__API_SERCET", SECRET),
        ("ORCHESTRATOR_SECRET__KEY", SECRET),
    ],
)
def test_secrets_are_in_no_error_nor_in_its_trace(variable: str, value: str) -> None:
    try:
        load_settings(None, {variable: value})
    except SettingsError as error:
        told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__) + repr(error.args)
    assert SECRET not in told


def test_secrets_under_wrong_keys_of_a_file_are_not_shown(settings_file: WriteFile) -> None:
    path = settings_file(
        f"[livekit]\napi_sercet = '{SECRET}'\napi_secret = ['{SECRET}']\n[db]\nurl = 'postgres://u:{SECRET}@h'\n"
    )
    said = refusal(path)
    assert len(said.splitlines()) == 3
    assert SECRET not in said


def test_secrets_are_in_no_error_of_settings_made_in_code() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"database": {"url": f"mysql://u:{SECRET}@h/d"}})
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"carrier": {"kind": "livekit"}, "livekit": {"api_secret": SECRET}})
    assert SECRET not in str(caught.value)


# -- the documentation of each field


@pytest.mark.parametrize(("section", "key", "field"), FIELDS, ids=[f"{section}.{key}" for section, key, _ in FIELDS])
def test_every_field_has_a_sentence_a_range_and_says_whether_it_is_reloadable(section: str, key: str, field: FieldInfo) -> None:
    assert field.description, "a sentence"
    assert field.description.endswith(".")
    assert isinstance(field.json_schema_extra, dict)
    assert isinstance(field.json_schema_extra["reloadable"], bool)
    assert not field.is_required(), "a default"
    if field.annotation in (int, float):
        bounds = {name for mark in field.metadata for name in ("ge", "le") if hasattr(mark, name)}
        assert bounds == {"ge", "le"}


COUNTS = {
    *("pool_min", "pool_max", "max_calls", "claim_batch", "batch", "most_rooms_ended", "seed", "time_scale", "port"),
    *("most_children", "rooms_a_child"),
}
"""Numbers without a unit."""


def test_every_number_carries_its_unit_in_its_name() -> None:
    numbers = {key for _, key, field in FIELDS if field.annotation in (int, float)} - COUNTS
    assert numbers
    assert {key for key in numbers if not key.endswith(("_s", "_ms", "_per_s", "_days"))} == set()


def test_the_example_file_is_what_the_code_says() -> None:
    assert EXAMPLE.read_text() == example_toml(), (
        "write orchestrator.settings.example_toml() to deploy/orchestrator.example.toml"
    )


def test_the_example_file_changes_nothing() -> None:
    assert load_settings(EXAMPLE, {}) == Settings()


def test_the_defaults_that_the_example_file_shows_are_the_true_ones(settings_file: WriteFile) -> None:
    shown = re.sub(r"(?m)^#(?=\w)", "", example_toml())
    assert load_settings(settings_file(shown), {}) == Settings()
    for section, key, _ in FIELDS:
        assert re.search(rf"(?m)^{key} = ", shown.split(f"[{section}]")[1].split("\n[")[0]), f"{section}.{key}"


def test_settings_can_be_given_to_another_process() -> None:
    settings = load_settings(None, {"ORCHESTRATOR_DATABASE__URL": "postgresql://h/d"})
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301
    assert settings.database.url == SecretStr("postgresql://h/d")
