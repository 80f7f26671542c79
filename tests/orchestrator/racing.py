"""Calls that start at the same moment, each in a thread of its own."""

import threading
from collections.abc import Callable


def at_once(*calls: Callable[[], object]) -> list[Exception]:
    """Makes the calls in threads that start together; returns what they raised."""
    barrier, raised = threading.Barrier(len(calls)), list[Exception]()

    def make(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=make, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
