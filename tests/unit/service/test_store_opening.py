from pathlib import Path

from service.latents.stand_in import StandIn
from service.latents.write_behind import WriteBehind
from service.latents.write_order import LATEST_S
from service.settings import Settings
from service.store_opening import open_store
from service.telemetry import Telemetry


def test_what_waits_for_redis_is_let_go_before_a_deletion_could_be_forgotten() -> None:
    for ttl_s, expected_s in ((604_800, LATEST_S), (60, 60)):
        settings = Settings(
            model_dir=Path("none"), redis_url="redis://nowhere.invalid", latent_ttl_s=ttl_s
        )
        store = open_store(settings, Telemetry())
        assert isinstance(store, WriteBehind)
        assert isinstance(store._store, StandIn)
        assert store._store._local._ttl_s == expected_s
