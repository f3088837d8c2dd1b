"""How a guest's status, plan and spec look to a person; guests may send any shape of JSON."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from reconciler.host.hello import Hello
from reconciler.host.output import colour, escape, flat, grid, indent, table
from reconciler.resource import Json, Phase

_COLOURS = {
    "True": "green",
    "False": "red",
    "Unknown": "yellow",
    "Converged": "green",
    "Holding": "green",
    "Converging": "yellow",
    "Degraded": "red",
    "Refused": "red",
}


def conditions(status: Mapping[str, Json]) -> list[dict[str, Json]]:
    found = status.get("conditions")
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


def condition(status: Mapping[str, Json], kind: str) -> dict[str, Json] | None:
    return next((c for c in conditions(status) if c.get("type") == kind), None)


def section(status: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A mapping in it such as `observed`, an empty one where the guest sends nothing of use."""
    found = status.get(name)
    return found if isinstance(found, dict) else {}


def painted(word: object) -> str:
    shown = escape(word)
    return colour(shown, _COLOURS[shown]) if shown in _COLOURS else shown


def headline(name: str, status: Mapping[str, Json]) -> str:
    phase, generation = painted(status.get("phase", "?")), escape(status.get("observedGeneration", "?"))
    return f"{colour(escape(name), 'bold')}  {phase}  generation {generation}\n"


def condition_table(status: Mapping[str, Json], *, wide: bool = False) -> str:
    head = ["KIND", "READY", "REASON", "MESSAGE", "SINCE"] + (
        ["GENERATION", "ATTEMPTS", "NEXT"] if wide else []
    )
    keys = ["type", "status", "reason", "message"]
    more = ["observedGeneration", "attempts", "nextTry"] if wide else []
    rows = [
        [
            *(flat(c.get(key, "-")) for key in keys),
            age(c.get("lastTransitionTime")),
            *(flat(c.get(k, "-")) for k in more),
        ]
        for c in conditions(status)
    ]
    return table(head, rows, wide=wide)


def remarks(status: Mapping[str, Json]) -> str:
    """What is to be said of the status as a whole: a document that was refused, what the guest left out."""
    found, left_out, words = status.get("refusal"), status.get("leftOut"), ""
    if isinstance(found, dict):
        generation, reason, message = (
            escape(flat(found.get(k, "?"))) for k in ("generation", "reason", "message")
        )
        words += f"refused: generation {generation}: {reason}: {message}\n"
    if isinstance(left_out, list):
        words += f"left out, as too long for one message: {escape(', '.join(map(flat, left_out)))}\n"
    return words


def age(time: Json, now: datetime | None = None) -> str:
    """How long ago, in one unit: 5s, 3m, 7h, 12d; `-` for what is no time in RFC 3339."""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds()
    except (TypeError, ValueError):
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def page(hello: Hello, status: Mapping[str, Json]) -> str:
    """All about one guest, for a person."""
    rehearsal = "yes: what it does is recorded, not done" if hello.rehearsing else "no"
    facts = {
        "Name": hello.name,
        "Phase": status.get("phase", "?"),
        "Generation": status.get("observedGeneration", "?"),
        "Digest": hello.digest or "-",
        "Agent": hello.agent,
        "Boot": hello.boot_id,
        "Rehearsing": rehearsal,
    }
    parts = ["".join(f"{key + ':':<13}{painted(value)}\n" for key, value in facts.items()), remarks(status)]
    parts.append("\nConditions\n" + indent(condition_table(status, wide=True)))
    for name, title in (("observed", "Observed"), ("inventory", "Inventory")):
        for item, value in section(status, name).items():
            parts.append(f"\n{title}: {escape(item)}\n" + indent(grid(value)))
    missing = [(kind, a.reason, a.message) for kind, a in sorted(hello.kinds.items()) if not a.usable]
    if missing:
        parts.append(
            "\nNot possible here\n" + indent(table(("KIND", "REASON", "MESSAGE"), missing, wide=True))
        )
    return "".join(parts)


def changes(plans: Mapping[str, Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Every change of a plan: {kind, target, field, have, want}."""
    return [
        {"kind": kind, **{key: change[key] for key in ("target", "field", "have", "want") if key in change}}
        for kind, plan in sorted(plans.items())
        for change in listed(plan.get("changes"))
    ]


def actions(plans: Mapping[str, Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Every action of a plan: {kind, verb, target, phase, token?}, in the order in which they run."""
    order = {phase.name.lower(): phase for phase in Phase}
    found = [
        {"kind": kind, **{k: action[k] for k in ("verb", "target", "phase", "token") if k in action}}
        for kind, plan in sorted(plans.items())
        for action in listed(plan.get("actions"))
    ]
    return sorted(found, key=lambda action: order.get(flat(action.get("phase")), Phase.CHANGE))


def hindrances(plans: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """A line for each kind that is not as desired, and for which nothing is planned all the same."""
    return [
        ": ".join(flat(word) for word in (kind, plan.get("reason", "?"), plan.get("message", "")) if word)
        for kind, plan in sorted(plans.items())
        if plan.get("ready") is False and not [*listed(plan.get("changes")), *listed(plan.get("actions"))]
    ]


def listed(value: Json) -> Iterator[dict[str, Json]]:
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def change_lines(found: Iterable[Mapping[str, Json]]) -> str:
    lines = (
        ": ".join(escape(flat(change.get(key, ""))) for key in ("kind", "target", "field"))
        + f": {escape(flat(change.get('have')))} -> {escape(flat(change.get('want')))}"
        for change in found
    )
    return "".join(f"{colour('~', 'yellow')} {line}\n" for line in lines)


def spec_lines(have: Mapping[str, Json], want: Mapping[str, Json]) -> str:
    """What would change in the spec in force, a line for each field; nothing where they are equal."""
    lines = []
    for path, old, new in _differences("spec", have, want):
        if old is not None:
            lines.append(colour(f"- {escape(path)}: {escape(flat(old))}", "red"))
        if new is not None:
            lines.append(colour(f"+ {escape(path)}: {escape(flat(new))}", "green"))
    return "".join(f"{line}\n" for line in lines)


def _differences(path: str, have: Json, want: Json) -> Iterator[tuple[str, Json, Json]]:
    if isinstance(have, dict) and isinstance(want, dict):
        for key in sorted({*have, *want}):
            yield from _differences(f"{path}.{key}", have.get(key), want.get(key))
    elif have != want:
        yield path, have, want
