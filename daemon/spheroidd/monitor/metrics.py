"""The numbers in Prometheus' text format, made anew from the database for each scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from spheroidd.monitor.look import Seen
from spheroidd.store.paths import printable
from spheroidd.store.reading import STAGES


def exposition(seen: Seen, accept: str) -> tuple[str, bytes]:
    """The content type and the text of all metrics.

    Args:
        accept: the client's `Accept` header; Prometheus' own format, or OpenMetrics for who
            asks for it.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(seen))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Collector(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        yield from _service(self._seen)
        yield from _images(self._seen)
        yield from _surroundings(self._seen)


def _service(seen: Seen) -> Iterator[Metric]:
    daemon = seen.daemon
    yield _labelled(
        "spheroidd_build_info",
        "Which spheroidd runs, with which model, where; always 1.",
        {tuple(str(daemon.get(name) or "") for name in _BUILD): 1.0},
        *_BUILD,
    )
    yield _gauge("spheroidd_healthy", "1 while work is possible, as /healthz says.",
                 float(not seen.reasons()))  # fmt: skip
    if "silent_seconds" in daemon:
        yield _gauge("spheroidd_heartbeat_age_seconds", "Time since the daemon's last heartbeat.",
                     max(0.0, daemon["silent_seconds"]))  # fmt: skip
    yield _labelled(
        "spheroidd_condition",
        "1 while this part of the service is in trouble, 0 while it is well.",
        {(row["name"],): float(bool(row["trouble"])) for row in seen.conditions},
        "name",
    )
    yield _gauge("spheroidd_alerts_open", "Alerts that were raised and have not ended.",
                 seen.alerts_open)  # fmt: skip


_BUILD = ("version", "model", "provider")


def _images(seen: Seen) -> Iterator[Metric]:
    yield _labelled(
        "spheroidd_images",
        "Images in each state.",
        {(state,): float(count) for state, count in seen.states.items()},
        "state",
    )
    yield CounterMetricFamily(
        "spheroidd_images_seen", "Images that were ever seen, new content of old names included.",
        value=seen.steps["seen"],
    )  # fmt: skip
    yield CounterMetricFamily(
        "spheroidd_images_measured", "Images that were ever measured as they arrived.",
        value=seen.steps["measured"],
    )  # fmt: skip
    failures = CounterMetricFamily(
        "spheroidd_failures", "How often images ever failed, by the state they were in.",
        labels=["stage"],
    )  # fmt: skip
    for stage in STAGES:
        failures.add_metric([stage], seen.steps[f"failed_{stage}"])
    yield failures
    if seen.latency["images"]:
        yield _labelled(
            "spheroidd_image_latency_seconds",
            "Time from seen to measured, of the 100 images that were measured last.",
            {("0.5",): seen.latency["median_seconds"], ("0.95",): seen.latency["p95_seconds"]},
            "quantile",
        )
    if seen.since_last_image is not None:
        yield _gauge("spheroidd_seconds_since_last_image", "Time since an image was last seen.",
                     seen.since_last_image)  # fmt: skip


def _surroundings(seen: Seen) -> Iterator[Metric]:
    if seen.free_bytes is not None:
        yield _gauge("spheroidd_disk_free_bytes", "Free space where the state folder lies.",
                     seen.free_bytes)  # fmt: skip
    yield _labelled(
        "spheroidd_folder_degraded",
        "1 while this watched folder can't be read, 0 while it is well.",
        {(printable(row["root"]),): float(row["health"] != "ok") for row in seen.folders},
        "folder",
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _labelled(
    name: str, meaning: str, values: dict[tuple[str, ...], float], *labels: str
) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for of_labels, value in values.items():
        family.add_metric(of_labels, value)
    return family
