"""Settings come from the environment, and a mistake in them is one clear line."""

import os
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import PREFIX, Settings, available_cores, digests_of


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith(PREFIX):
            monkeypatch.delenv(variable)


def test_a_variable_sets_a_field_whatever_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDIN_MODEL_DIR", "/models")
    monkeypatch.setenv("foldin_port", "9000")
    settings = Settings()
    assert settings.model_dir == Path("/models")
    assert settings.port == 9000


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDIN_PORT", "9000")
    assert Settings(port=9001).port == 9001


def test_a_misspelt_variable_is_named_with_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDIN_DEADLIN_MS", "5")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert str(caught.value) == "FOLDIN_DEADLIN_MS is no setting; did you mean FOLDIN_DEADLINE_MS?"


def test_a_variable_like_no_other_is_named_without_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDIN_XYZZY", "5")
    with pytest.raises(SettingsError, match=r"^FOLDIN_XYZZY is no setting$"):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FOLDIN_PORT", "65536"),
        ("FOLDIN_PORT", "http"),
        ("FOLDIN_WORKERS", "0"),
        ("FOLDIN_THREADS", "-1"),
        ("FOLDIN_DEVICE", "tpu"),
        ("FOLDIN_RETRIEVAL", "guess"),
        ("FOLDIN_MAX_K", "0"),
        ("FOLDIN_DEADLINE_MS", "1.5"),
        ("FOLDIN_REDIS_URL", "http://user:pa55@redis"),
        ("FOLDIN_API_KEYS_SHA256", "pa55"),
        ("FOLDIN_API_KEYS_SHA256", ""),
        ("FOLDIN_ADMIN_KEYS_SHA256", f"{'a' * 64};pa55"),
        ("FOLDIN_LOG_FORMAT", "xml"),
        ("FOLDIN_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_named_by_its_variable_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        Settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message
    assert "pa55" not in message


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDIN_PORT", "x")
    monkeypatch.setenv("FOLDIN_MAX_K", "x")
    with pytest.raises(SettingsError, match=r"FOLDIN_PORT: .*; FOLDIN_MAX_K: "):
        Settings()


def test_a_password_is_not_printed() -> None:
    assert "pa55" not in repr(Settings(redis_url="redis://:pa55@redis:6379/0"))


def test_key_digests_come_with_commas_between_them_and_are_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = "ab" * 32, "CD" * 32
    monkeypatch.setenv("FOLDIN_API_KEYS_SHA256", f"{one} ,\n {other}\n")
    settings = Settings(admin_keys_sha256=one)
    assert digests_of(settings.api_keys_sha256) == (one, other)
    assert digests_of(settings.admin_keys_sha256) == (one,)
    assert digests_of(Settings(api_keys_sha256=None).api_keys_sha256) == ()
    assert one not in repr(settings)


def test_cores_are_shared_out_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.settings.available_cores", lambda: 8)
    assert Settings().threads_per_worker == 7
    assert Settings(workers=3).threads_per_worker == 1
    assert Settings(workers=9).threads_per_worker == 1
    assert Settings(workers=9, threads=4).threads_per_worker == 4


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1),
     ("1600000 100000", 8)],
)  # fmt: skip
def test_the_quota_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert available_cores(tmp_path / "cpu.max") == cores


def test_without_cgroups_or_affinity_the_machine_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert available_cores(tmp_path / "none") == 3
    monkeypatch.delattr("os.sched_getaffinity")
    assert available_cores(tmp_path / "none") == (os.cpu_count() or 1)


def test_every_setting_is_explained() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path)
    return tmp_path


def test_a_file_stands_in_for_a_variable(secrets: Path) -> None:
    (secrets / "foldin_redis_url").write_text("redis://:pa55@redis:6379/0\n")
    (secrets / "redis.conf").write_text("another's")
    assert Settings().redis_url == "redis://:pa55@redis:6379/0"


def test_a_variable_wins_over_a_file(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "foldin_port").write_text("9000")
    monkeypatch.setenv("FOLDIN_PORT", "9001")
    assert Settings().port == 9001


def test_without_a_folder_of_secrets_nothing_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Settings.model_config, "secrets_dir", tmp_path / "none")
    assert Settings().redis_url is None


def test_a_secret_that_cannot_be_read_is_one_line_without_the_secret(secrets: Path) -> None:
    (secrets / "foldin_redis_url").write_bytes(b"pa55\xff")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert str(caught.value) == "a file of /run/secrets cannot be read: UnicodeDecodeError"


def test_a_wrong_secret_is_named_without_its_value(secrets: Path) -> None:
    (secrets / "foldin_redis_url").write_text("http://:pa55@redis")
    with pytest.raises(SettingsError, match=r"^FOLDIN_REDIS_URL: ") as caught:
        Settings()
    assert "pa55" not in str(caught.value)
