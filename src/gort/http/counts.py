"""What a server counts, and its exposition for Prometheus, together with the runtime's (gort.metrics).

The server guards it by a lock of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gort.http.exchange import Exchange

BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counts:
    """Requests by status, their times, the bytes of the responses."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets: list[int] = [0] * (len(BOUNDS_S) + 1)
        self.seconds: float = 0.0
        self.bytes: int = 0

    def add(self, status: int, seconds: float, sent: int) -> None:
        """A request has been answered.  status 0: the client had gone."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        i = 0
        for bound in BOUNDS_S:
            if seconds <= bound:
                break
            i += 1
        self.buckets[i] += 1
        self.seconds += seconds
        self.bytes += sent

    def exposition(self, exchange: Exchange, served: int, connections: int) -> tuple[bytes, bytes]:
        """(content type, text): the server's and the runtime's."""
        from gort import metrics

        accept = next((v.decode("latin-1") for n, v in exchange.headers if n == b"accept"), "")
        kind, text = metrics.exposition(accept)
        openmetrics = "openmetrics" in kind
        total = "gort_http_requests" if openmetrics else "gort_http_requests_total"
        lines = [f"# HELP {total} Requests that have been answered.", f"# TYPE {total} counter"]
        for status, n in sorted(self.statuses.copy().items()):
            lines.append(f'gort_http_requests_total{{status="{status or "gone"}"}} {n}')
        sent = "gort_http_response_bytes" if openmetrics else "gort_http_response_bytes_total"
        lines += [f"# HELP {sent} Bytes of the bodies of responses.", f"# TYPE {sent} counter"]
        lines.append(f"gort_http_response_bytes_total {self.bytes}")
        for name, help_, value in (
            ("gort_http_requests_served", "Requests that are being served.", served),
            ("gort_http_connections", "Connections that are open.", connections),
        ):
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge", f"{name} {value}"]
        name = "gort_http_request_seconds"
        lines += [f"# HELP {name} Time from a request's head to the end of its response.", f"# TYPE {name} histogram"]
        below = 0
        for bound, n in zip((*map(str, BOUNDS_S), "+Inf"), self.buckets, strict=True):
            below += n
            lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
        lines += [f"{name}_sum {self.seconds:.6f}", f"{name}_count {below}"]
        return kind.encode(), "\n".join(lines).encode() + b"\n" + text
