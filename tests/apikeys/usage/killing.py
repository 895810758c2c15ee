"""Run as a program: rounds of load on ``recording``, each ended by ``kill -9`` at a random moment.

    python -m tests.apikeys.usage.killing ROUNDS SEED

Each round is a process with THREADS threads that record a request and then answer it: a line with its id and
its tokens, which this program prints once it has it whole. What dead rounds left, later ones take up.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from typing import NoReturn

import django

THREADS = 4
PAUSE = 0.001  # seconds between two requests of a thread
LONGEST = 0.45  # seconds of a round: the writer has begun its second batch by then


def main(rounds: int, seed: int) -> None:
    django.setup()
    choose = random.Random(seed)
    for number in range(rounds):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            serve(writer, number)
        os.close(writer)
        timer = threading.Timer(choose.uniform(0, LONGEST), os.kill, (child, signal.SIGKILL))
        with os.fdopen(reader) as answers:
            first = answers.readline()  # it is serving
            timer.start()
            for line in (first, *answers):
                if line.endswith("\n"):
                    sys.stdout.write(line)
        os.waitpid(child, 0)


def serve(answers: int, number: int) -> NoReturn:
    from apikeys.usage import recording

    recording.start()
    threads = [
        threading.Thread(target=answer_for_ever, args=(answers, f"{number}-{at}")) for at in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    while True:
        time.sleep(60)


def answer_for_ever(answers: int, name: str) -> None:
    from apikeys.usage import recording
    from tests.apikeys.conftest import make_event

    count = 0
    while True:
        count += 1
        prompt, completion = random.randrange(1000), random.randrange(1000)
        request_id = f"{name}-{count}"
        recording.record(
            make_event(request_id=request_id, prompt_tokens=prompt, completion_tokens=completion)
        )
        os.write(answers, f"{request_id} {prompt} {completion}\n".encode())
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
