"""An engine that hangs is told from one that is idle, and from one that is slow."""

from leash_ray.stall import StallWatch


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_only_an_engine_with_work_and_without_steps_hangs() -> None:
    clock = Clock()
    watch = StallWatch(10, clock)
    clock.now_s = 100
    assert not watch.hangs() and not watch.hangs()  # idle
    watch.begin()
    assert not watch.hangs() and not watch.hangs()  # its work has just begun
    clock.now_s = 109
    watch.step()
    watch.begin()  # more work is no step
    clock.now_s = 119
    assert not watch.hangs() and not watch.hangs()
    clock.now_s = 119.5
    assert not watch.hangs()  # once
    assert watch.hangs()  # twice
    watch.step()
    assert not watch.hangs()
    clock.now_s = 200
    assert not watch.hangs()  # the one before does not count
    watch.end()
    watch.end()
    assert not watch.hangs() and not watch.hangs()
