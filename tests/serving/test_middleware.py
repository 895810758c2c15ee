from __future__ import annotations

import time

from serving.middleware import new_request_id


def test_request_ids_differ_and_sort_by_time() -> None:
    early = {new_request_id() for _ in range(1000)}
    time.sleep(0.002)
    late = {new_request_id() for _ in range(1000)}
    assert len(early | late) == 2000
    assert max(early) < min(late)
