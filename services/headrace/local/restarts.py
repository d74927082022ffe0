"""How often something that crashes is started again: a budget within a sliding window. No I/O; time is passed in."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class RestartBudget:
    """At most `limit` restarts within `window` seconds, `delay` seconds apart at first and twice as long each time."""

    limit: int = 3
    window: float = 60.0
    delay: float = 0.0
    longest_delay: float = 30.0
    _crashes: deque[float] = field(default_factory=deque)

    def crashed(self, now: float) -> float | None:
        """Notes a crash at `now` (s). Returns how long to wait before the restart, or None: give up."""
        while self._crashes and now - self._crashes[0] >= self.window:
            self._crashes.popleft()
        self._crashes.append(now)
        if len(self._crashes) > self.limit:
            return None
        doublings: int = len(self._crashes) - 1
        return min(self.delay * 2.0**doublings, self.longest_delay)

    @property
    def recent(self) -> int:
        """Crashes within the window, as of the last one."""
        return len(self._crashes)
