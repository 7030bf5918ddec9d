"""A file that takes a while, and what tests that stop its download need."""

import random

import psutil

from entrypoint.sample.hub import Answer, Request, Respond

URL = "https://huggingface.co/org/m/resolve/main/big.bin"
BIG = 8 << 20


def with_big_file(world, size: int = BIG, **fields) -> bytes:
    content = random.Random(1).randbytes(size)
    world.add("big", "file", URL, content, "big.bin", **fields)
    return content


def failing(times: int, answer: Answer, on: str = "GET"):
    """The first answers to a method are replaced."""

    def wrap(respond: Respond) -> Respond:
        left = times

        def wrapped(request: Request) -> Answer:
            nonlocal left
            if request.method == on and left > 0:
                left -= 1
                return answer
            return respond(request)

        return wrapped

    return wrap


def children_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
