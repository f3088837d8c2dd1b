"""The child that reads documents, and keeps hostile input and cerberus out of the daemon.

One request a line on standard input, one answer a line on standard output, both JSON:
`{"spec": {...}}` or `{"text": "...", "digest": "sha256:..."}` (a transferred spec, as JSON text)
gives `{"normal": {...}, "digest": "..."}`; `{"policy": "...", "source": "..."}` gives the fields of
a policy; what is refused gives `{"faults": [[line, column, path, message, source], ...]}`.
Ends at the end of its input, or after IDLE_S without a request.
"""

import json
import resource
import select
import sys
from dataclasses import asdict, astuple
from hashlib import sha256

from reconciler.documents import normalise, read_policy
from reconciler.errors import InvalidSpec
from reconciler.resource import Json
from reconciler.spec import digest

IDLE_S = 30.0  # a host that writes twice does so within seconds; then the memory is worth more
_CPU_S_MAX = 60  # the slowest of hostile documents takes one second
_MEMORY_MAX = 512 << 20


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_MAX, _MEMORY_MAX))
    while select.select([sys.stdin], [], [], IDLE_S)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(request: Json) -> Json:
    try:
        if "policy" in request:
            return asdict(read_policy(request["policy"], source=request["source"]))
        normal = normalise(request["spec"] if "spec" in request else _transferred(request))
    except InvalidSpec as error:
        return {"faults": [astuple(fault) for fault in error.faults]}
    return {"normal": normal, "digest": digest(normal)}


def _transferred(request: Json) -> Json:
    body = request["text"].encode()
    if "sha256:" + sha256(body).hexdigest() != request["digest"]:
        raise InvalidSpec("cannot use the transfer: its bytes do not have its digest")
    try:
        return json.loads(body, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"cannot use the transfer: it is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Json]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


if __name__ == "__main__":
    main()
