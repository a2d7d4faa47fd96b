from client_plugin.dicom.pace import MIN_PROGRESS, Pace, TooSlow


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def survives(pace: Pace, clock: Clock, fragments: list[tuple[float, int]]) -> bool:
    try:
        for at, size in fragments:
            clock.now = at
            pace.received(size)
    except TooSlow:
        return False
    return True


def test_a_long_message_that_gets_on_is_waited_for() -> None:
    clock = Clock()
    assert survives(Pace(10, clock), clock, [(second, MIN_PROGRESS // 5) for second in range(1000)])


def test_a_message_that_trickles_is_cut_in_the_second_window_at_the_latest() -> None:
    clock = Clock()
    assert not survives(Pace(10, clock), clock, [(0, MIN_PROGRESS), (9, 1), (11, 1), (20, 1), (22, 1)])


def test_the_time_between_two_messages_does_not_count() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    for start in range(0, 1000, 100):
        assert survives(pace, clock, [(start, 10), (start + 5, 10)])
        pace.ended()


def test_without_a_timeout_everything_is_waited_for() -> None:
    clock = Clock()
    assert survives(Pace(None, clock), clock, [(0, 1), (1e9, 1)])
