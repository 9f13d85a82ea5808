"""What the engine reports to the audit trail: every event that belongs there, and no secret."""

from __future__ import annotations

import pytest

from pynun.engine.audit_events import Fact
from pynun.engine.commands.table import BY_NAME, COMMANDS
from pynun.engine.effects import VerifySecret
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, Visitor, World, fake_hash

NO_DATABASE = "error no-db-selected"
NOT_ADMIN = "To read security keys you must auth as an admin!"


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    admin = world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana rwix *")
    admin.close()
    world.commit()
    world.trail.take()
    return world


ADMIN_EVENTS = [
    ("create-db e e-pwd newer", "create-db", "e", "create-db e *** newer"),
    ("create-db e e-pwd", "create-db", "e", "create-db e ***"),
    ("create-db e a token with blanks", "create-db", "e", "create-db e *** ***"),
    ("use-db d ana ana-pwd", "login", "d", "use-db d ana ***"),
    ("create-user bob bob-pwd", "create-user", "d", "create-user bob ***"),
    ("set-permissions bob r a*,b|w c d", "set-permissions", "d", "set-permissions bob r a*,b|w c d"),
    ("set $$token new-pwd", "change-token", "d", "set $$token ***"),
    ("set-safe $$user_ana 7 new-pwd", "change-token", "d", "set-safe $$user_ana 7 ***"),
    ("remove $$user_ana", "remove-user", "d", "remove $$user_ana"),
    ("set $$permission_$ana r x*", "set-permissions", "d", "set $$permission_$ana r x*"),
    ("remove $$permission_$ana", "set-permissions", "d", "remove $$permission_$ana"),
    ("set $$other confidential", "change-security-key", "d", "set $$other ***"),
    ("increment $$count 3", "change-security-key", "d", "increment $$count 3"),
    ("get $$token", "read-security-key", "d", "get $$token"),
    ("get-safe $$user_ana", "read-security-key", "d", "get-safe $$user_ana"),
    ("watch $$token", "read-security-key", "d", "watch $$token"),
    ("replicate d $$token 1 new-pwd", "change-token", "d", "replicate d $$token 1 ***"),
    ("replicate-remove d $$user_ana", "remove-user", "d", "replicate-remove d $$user_ana"),
    ("replicate-increment d $$count 2", "change-security-key", "d", "replicate-increment d $$count 2"),
    ("add-user d bob bob-pwd", "create-user", "d", "add-user d bob ***"),
    ("set-token d ana new-pwd", "change-token", "d", "set-token d ana ***"),
    ("add-admin bob bob-pwd", "add-admin", None, "add-admin bob ***"),
    (f"set-admin-password {ADMIN_USER} new-pwd", "change-token", None, f"set-admin-password {ADMIN_USER} ***"),
    ("set-password new-pwd", "change-token", None, "set-password ***"),
    ("remove-user d ana", "remove-user", "d", "remove-user d ana"),
    ("grant d ana rw x*", "set-permissions", "d", "grant d ana rw x*"),
    ("revoke d ana rwix *", "set-permissions", "d", "revoke d ana rwix *"),
    ("open-db d", "open-db", "d", "open-db d"),
    ("drop-db d", "drop-db", "d", "drop-db d"),
    ("rp 7 create-user bob bob-pwd", "create-user", "d", "rp *** create-user bob ***"),
    ("rp 7 replicate d $$token 1 new-pwd", "change-token", "d", "rp *** replicate d $$token 1 ***"),
]


@pytest.mark.parametrize(("command", "event", "database", "shown"), ADMIN_EVENTS)
def test_what_an_admin_does(world: World, command: str, event: str, database: str, shown: str) -> None:
    admin = world.admin("use-db d pwd")
    world.trail.take()
    assert admin.ask(command)[-1] == "ok \n"
    user = "ana" if event == "login" else ADMIN_USER
    assert world.trail.take() == [(Fact(event, database, user, shown), "ok", None)]


REFUSED = {
    "create-db e *** newer": "create-db *** *** newer",
    "create-db e ***": "create-db *** ***",
    "create-db e *** ***": "create-db *** *** ***",
    "create-user bob ***": "create-user *** ***",
    "set-permissions bob r a*,b|w c d": "set-permissions *** r ***,***|w ***",
    "set $$permission_$ana r x*": "set $$permission_$ana r ***",
    "set $$other ***": "set $$*** ***",
    "increment $$count 3": "increment $$*** 3",
    "replicate-increment d $$count 2": "replicate-increment d $$*** 2",
    "add-user d bob ***": "add-user d *** ***",
    "add-admin bob ***": "add-admin *** ***",
    "grant d ana rw x*": "grant d ana rw ***",
    "rp *** create-user bob ***": "rp *** create-user *** ***",
}
"""What is shown where nothing was made, so that there is nothing of that name."""


@pytest.mark.parametrize(("command", "event", "database", "shown"), [row for row in ADMIN_EVENTS if row[1] != "login"])
def test_what_nobody_but_an_admin_may_do(
    world: World, command: str, event: str, database: str | None, shown: str
) -> None:
    """With the names that there are."""
    shown = REFUSED.get(shown, shown)
    database = None if database == "e" else database
    client = world.connect("use-db d ana ana-pwd")
    world.trail.take()
    assert client.ask(command)[-1] != "ok \n"
    of_keys = "$$" in command and not command.startswith(("rep", "rp"))
    reason = NOT_ADMIN if of_keys or command.startswith(("create-user", "set-permissions")) else "Not auth"
    assert world.trail.take() == [(Fact(event, database, "ana", shown), "refused", reason)]


@pytest.mark.parametrize("name", sorted(command.name for command in COMMANDS if command.needs_admin))
def test_every_command_that_needs_an_admin_is_in_the_trail_when_it_is_refused(world: World, name: str) -> None:
    texts = {"create-db": "x y", "create-user": "x y", "set-permissions": "x r *", "debug": "list-dbs", "rp": "1 keys",
             "disconnect": "1", "db-size": "d", "rename-db": "d e", "copy-db": "d e",
             "import-db": "d none", "import-end": "1", "import-keys": "1 []", "import-cancel": "1",
             "drop-db": "d", "list-users": "d", "add-user": "d u t",
             "set-token": "d u t", "remove-user": "d u", "grant": "d u r *", "revoke": "d u r *",
             "explain-permission": "d u r k", "set-password": "p", "add-admin": "u p",
             "remove-admin": "u", "set-admin-password": "u p", "ack": "1 n", "replicate-since": "n 1"}  # fmt: skip
    rest = texts.get(name, "d key 1 value")
    denial = BY_NAME[name].denial.error
    assert world.connect().ask(f"{name} {rest}") == [f"error {denial} \n"]
    ((fact, outcome, reason),) = world.trail.take()
    assert (outcome, reason) == ("refused", denial)
    assert fact.command.startswith(name)
    assert "value" not in fact.command


@pytest.mark.parametrize(
    ("command", "fact", "outcome", "reason"),
    [
        (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", Fact("login", None, ADMIN_USER, f"auth {ADMIN_USER} ***"), "ok", None),
        (
            f"auth {ADMIN_USER} two words",
            Fact("login", None, ADMIN_USER, f"auth {ADMIN_USER} ***"),
            "failed",
            "invalid auth",
        ),
        ("use-db d pwd", Fact("login", "d", "all", "use-db d ***"), "ok", None),
        ("use d pwd", Fact("login", "d", "all", "use-db d ***"), "ok", None),
        ("use-db d guess", Fact("login", "d", "all", "use-db d ***"), "failed", "Invalid token"),
        ("use-db d ana guess", Fact("login", "d", "ana", "use-db d ana ***"), "failed", "Invalid token"),
    ],
)
def test_who_logs_in(world: World, command: str, fact: Fact, outcome: str, reason: str | None) -> None:
    world.connect().ask(command)
    assert world.trail.take() == [(fact, outcome, reason)]


INVALID_AUTH = "invalid auth"
INVALID_TOKEN = "Invalid token"
NO_SUCH_DATABASE = "Not a valid database name"


@pytest.mark.parametrize(
    ("command", "fact", "reason"),
    [
        ("auth hidden", Fact("login", None, None, "auth ***"), INVALID_AUTH),
        ("auth hidden ", Fact("login", None, None, "auth ***"), INVALID_AUTH),
        (f"auth hidden {ADMIN_USER}", Fact("login", None, None, "auth *** ***"), INVALID_AUTH),
        ("auth hidden hidden", Fact("login", None, None, "auth *** ***"), INVALID_AUTH),
        ("auth  hidden", Fact("login", None, None, "auth *** ***"), INVALID_AUTH),
        ("use-db d hidden ana", Fact("login", "d", None, "use-db d *** ***"), INVALID_TOKEN),
        ("use-db d hidden with a blank", Fact("login", "d", None, "use-db d *** ***"), INVALID_TOKEN),
        ("use-db d ana hidden with a blank", Fact("login", "d", "ana", "use-db d ana ***"), INVALID_TOKEN),
        ("use-db hidden d", Fact("login", None, None, "use-db *** ***"), NO_SUCH_DATABASE),
        ("use-db hidden ana d", Fact("login", None, None, "use-db *** *** ***"), NO_SUCH_DATABASE),
        ("use-db  d hidden", Fact("login", None, None, "use-db *** *** ***"), NO_SUCH_DATABASE),
        ("rp 1 auth hidden", Fact("login", None, None, "rp *** auth ***"), INVALID_AUTH),
    ],
)
def test_a_secret_in_the_place_of_a_name_is_not_told(world: World, command: str, fact: Fact, reason: str) -> None:
    client = world.admin() if command.startswith("rp") else world.connect()
    world.trail.take()
    client.ask(command)
    assert world.trail.take() == [(fact, "failed", reason)]


@pytest.mark.parametrize(
    "command", ["use-db hidden", "auth", "create-db hidden", "create-user hidden", "add-user d hidden"]
)
def test_a_command_without_its_last_word_is_not_told_at_all(world: World, command: str) -> None:
    """Or without any of its words."""
    world.trail.take()
    world.admin().ask(command)
    assert "hidden" not in str(world.trail.take())


def test_where_it_came_from(world: World) -> None:
    peer = Visitor()
    client = Client(world, peer)
    client.ask("auth eve guess")
    assert world.trail.peers[-1] is peer
    assert isinstance(need := world.credentials.needs[-1], VerifySecret)
    assert need.attempt is not None
    assert (need.attempt.address, need.attempt.account) == (peer.address, "auth eve")


def test_what_an_error_stopped(world: World) -> None:
    admin = world.admin("use-db d pwd")
    world.trail.take()
    for command, reason in (
        ("create-db d pwd", "database already exists"),
        ("remove $$token", "$$token key cannot be removed"),
        ("replicate x $$token 1 y", "Not a valid database name"),
        ("rp 1 create-db d pwd", "database already exists"),
    ):
        admin.ask(command)
        ((_, outcome, told),) = world.trail.take()
        assert (outcome, told) == ("failed", reason)


def test_a_change_is_told_with_the_batch_that_it_is_in(world: World) -> None:
    admin = world.admin("use-db d pwd")
    for command in ("create-user bob bob-pwd", "set-permissions bob r *", "set $$other x"):
        admin.ask(command)
        assert world.trail.depends[-1] == world.view.newest_unwritten > 0
    world.commit()
    admin.ask("get $$other")
    assert world.trail.depends[-1] == 0


def test_who_leaves_before_the_answer_is_told_too(world: World) -> None:
    """Else a guesser that hangs up would not be in the trail."""
    client = world.connect()
    suspension = client.start("use-db d guess")
    need = next(suspension)
    client.close()
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    ((fact, outcome, _),) = world.trail.take()
    assert (fact.event, outcome) == ("login", "failed")


@pytest.mark.parametrize(
    "command",
    ["get k", "set k v", "set-safe k 3 v", "increment n", "remove k", "watch k", "keys", "keys $$", "unwatch-all",
     "snapshot", "metrics-state", "debug list-dbs", "list-commands", "replicate d k 1 v", "rp 1 set k v", "arbiter",
     "unknown", "", "rp 1", "set $$", "create-db"],
)  # fmt: skip
def test_what_does_not_belong_there(world: World, command: str) -> None:
    admin = world.admin("use-db d pwd")
    world.trail.take()
    admin.ask(command)
    facts = world.trail.take()
    assert facts == [] or command == "set $$"


def known_names(world: World) -> str:
    """All that an administrator can list of names."""
    admin = world.admin("use-db d pwd")
    listed = ["list-dbs", "keys", "list-users d", "list-users $admin", "list-admins"]
    text = "".join(admin.ask(command)[0] for command in listed)
    admin.close()
    return text


WORDS = {
    "auth": 2, "use-db": 3, "create-db": 3, "create-user": 2, "set-permissions": 3, "drop-db": 1, "add-user": 3,
    "set-token": 3, "remove-user": 2, "grant": 4, "revoke": 4, "disconnect": 1, "replicate": 4, "replicate-remove": 2,
    "replicate-increment": 3, "resolve": 5, "snapshot": 2, "debug": 1, "list-dbs": 1, "list-users": 2, "db-size": 1,
    "explain-permission": 4, "list-sessions": 1, "join": 1, "leave": 1, "set-primary": 1, "ack": 2,
    "replicate-since": 2, "replicate-join": 1, "election": 2, "add-admin": 2, "remove-admin": 1,
    "set-admin-password": 2,
}  # fmt: skip
RIGHT_WORDS = {
    "auth": f"{ADMIN_USER} x", "use-db": "d ana x", "create-db": "d x newer", "create-user": "ana x",
    "set-permissions": "ana r *", "drop-db": "nowhere", "add-user": "d ana x", "set-token": "d nobody x",
    "remove-user": "d nobody", "grant": "d ana r *", "revoke": "d ana r *", "disconnect": "77",
    "replicate": "d $$token -1 x", "replicate-remove": "d $$gone", "replicate-increment": "d $$token 1",
    "resolve": "1 d $$token 1 x", "add-admin": "bob x", "remove-admin": "bob", "set-admin-password": f"{ADMIN_USER} x",
}  # fmt: skip
KEY_COMMANDS = ("get", "get-safe", "watch", "set", "set-safe", "increment", "remove", "unwatch", "replicate d",
                "replicate-remove d", "replicate-increment d", "resolve 1 d")  # fmt: skip
HIDDEN = "Hidden-Secret"


def hidings() -> list[str]:
    """Every command that is recorded, or refused to some, with a secret in place of each of its words and names."""
    texts = []
    for name, count in WORDS.items():
        right = RIGHT_WORDS.get(name, "d ana r k v").split()
        for place in range(count):
            words = [*right[:place], HIDDEN, *right[place + 1 :]]
            texts += [f"{name} {' '.join(words)}", f"{name} {' '.join(words[: place + 1])}"]
    beginnings = ("$$", "$$user_", "$$permission_$", "$$token")
    texts += [f"{name} {start}{HIDDEN} 1 x" for name in KEY_COMMANDS for start in beginnings]
    texts += [f"{name} $$permission_$ana {HIDDEN} {HIDDEN}" for name in ("set", "set-safe", "replicate d")]
    texts += [HIDDEN, f"{HIDDEN} x", f"rp {HIDDEN}", f"rp 1 {HIDDEN}", f"rp {HIDDEN} {HIDDEN}", f"rp rp {HIDDEN}"]
    return texts + [f"rp {number} {text}" for text in texts for number in ("1", HIDDEN)]


@pytest.mark.parametrize("who", ["nobody", "ana", "admin"])
def test_a_secret_in_the_place_of_any_name_is_in_no_fact(who: str) -> None:
    """Unless it is the name of something by then, which an administrator has made."""
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana rwix *")
    world.commit()
    for text in hidings():
        begin = {"nobody": [], "ana": ["use-db d ana ana-pwd"], "admin": [f"auth {ADMIN_USER} {ADMIN_PASSWORD}"]}
        client = world.connect(*begin[who])
        if who == "admin":
            client.ask("use-db d pwd")
        world.trail.take()
        client.ask(text)
        told = world.trail.take()
        client.close()
        if HIDDEN in str(told):
            assert who == "admin", (text, told)
            assert told[0][1] == "ok", (text, told)
            permissions = world.admin("use-db d pwd").ask("get $$permission_$ana")[0]
            assert HIDDEN in known_names(world) + permissions, (text, told)
        world.lose()


def test_a_name_that_is_gone_or_never_was_is_not_shown(world: World) -> None:
    admin = world.admin("create-db e pwd", "use-db d pwd")
    shown = []
    for command in (
        "get $$user_eve", "remove $$user_eve", "get $$user_ana", "create-user eve x", "get $$user_eve",
        "remove-user d eve", "get $$user_eve", "set $$k v", "remove $$k", "get $$k", "drop-db e", "drop-db e",
    ):  # fmt: skip
        world.trail.take()
        admin.ask(command)
        ((fact, _, _),) = world.trail.take()
        shown.append(fact.command)
    assert shown == [
        "get $$user_***", "remove $$user_***", "get $$user_ana", "create-user eve ***", "get $$user_eve",
        "remove-user d eve", "get $$user_***", "set $$k ***", "remove $$k", "get $$***", "drop-db e", "drop-db ***",
    ]  # fmt: skip


def test_looking_up_names_for_the_trail_makes_no_reply_wait(world: World) -> None:
    world.admin("create-db fresh pwd")
    client = world.connect()
    client.ask("drop-db fresh")
    assert client.depends == 0


def test_no_secret_is_in_any_fact(world: World) -> None:
    secret = "hidden"
    admin = world.admin("use-db d pwd")
    for command in (
        "auth x {}", "auth {0} {0}", "use-db d {}", "use-db d ana {}", "create-db y {}", "create-user z {}",
        "set $$token {}", "set-safe $$user_ana 1 {}", "set $$x {}", "replicate d $$token 1 {}", "rp 1 auth x {}",
        "rp 1 set $$user_ana {}", "rp {0} {0}", "resolve 1 d $$x 1 {}", "replicate-increment d $$token {}",
    ):  # fmt: skip
        admin.ask(command.format(secret))
        admin.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
    shown = [fact for fact, _, _ in world.trail.facts if secret in fact.command and secret != fact.user]
    assert shown == []
    assert fake_hash(secret) not in str(world.trail.facts)
