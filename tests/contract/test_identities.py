"""What every identity promises, wherever its private key is: it opens what is wrapped for it, and says what
is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mailhaul
from mailhaul.proto.errors import AccessError, DamagedError, EncryptedError
from mailhaul.proto.keys.derivation import content_id, structure_key, wrap_info
from mailhaul.proto.keys.identities import Identity, open_identity
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.opening import open_slot, rewrap, slots_with_sidecar
from mailhaul.proto.keys.paper import paper_text
from mailhaul.proto.keys.recipients import read_recipient, recipient, text_of
from mailhaul.proto.keys.records import Cipher, Kem, Recipient, Slot, Wrap
from mailhaul.proto.keys.secret_files import ScryptCost, read_secret
from mailhaul.proto.keys.wrapping import wrap
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.structs import replace

Made = tuple[Recipient, Identity]

CHEAP = ScryptCost(n=16)
CONTENT, STRUCTURE = b"c" * 32, b"s" * 32

UNWRAP = """\
import base64, json, sys
sys.path.insert(0, {checkout!r})
from mailhaul.proto.keys.secret_files import read_secret
from mailhaul.proto.keys.wrapping import unwrap
from pathlib import Path
asked = json.load(sys.stdin)
secret = read_secret(Path({path!r})).open(None)
assert (asked["mailhaul_unwrap"], asked["recipient"]) == (1, secret.recipient.hex())
info, sealed = (base64.b64decode(asked[name]) for name in ("info", "sealed"))
try:
    opened = unwrap(secret.kem, secret.private, sealed, info)
except Exception:
    opened = b""
print(base64.b64encode(opened).decode())
"""


def passphrase(path: Path) -> str:
    return "passphrase"


def opened(*paths: Path) -> Identity:
    return open_identity(paths, passphrase, pytest.fail)


def file_of(kem: Kem, protected: str | None) -> Callable[[Path], Made]:
    def make(place: Path) -> Made:
        return make_recipient(place, "ops", kem, [protected], cost=CHEAP), opened(place / "ops.secret")

    return make


def shares(place: Path) -> Made:
    made = make_recipient(place, "ops", Kem.HYBRID, [None, "passphrase", None], threshold=2, cost=CHEAP)
    return made, opened(place / "ops.share3.secret", place / "ops.share2.secret")


def typed(place: Path) -> Made:
    made = make_recipient(place, "ops", Kem.HYBRID, [None])
    paper = private(place / "paper", paper_text(read_secret(place / "ops.secret").open(None)))
    return made, opened(paper)


def age(place: Path, *, locked: bool = False) -> Made:
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    text = f"# made by age-keygen\n{identity}\n".encode()
    file = place / "age.txt"
    file.write_bytes(pyrage.passphrase.encrypt(text, "passphrase") if locked else text)
    file.chmod(0o600)
    return recipient("ops", Kem.AGE, str(identity.to_public()).encode()), opened(file)


def command(place: Path) -> Made:
    checkout = str(Path(next(iter(mailhaul.__path__))).parent)
    made = make_recipient(place, "ops", Kem.HYBRID, [None])
    script = place / "unwrap.py"
    script.write_text(UNWRAP.format(checkout=checkout, path=str(place / "ops.secret")))
    return made, opened(command_file(place, made, sys.executable, str(script)))


def several(place: Path) -> Made:
    make_recipient(place, "other", Kem.X25519, [None])
    made = make_recipient(place, "ops", Kem.X25519, [None])
    return made, opened(place / "other.secret", place / "ops.secret")


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def command_file(place: Path, made: Recipient, *arguments: str, limit: object = 60) -> Path:
    document = {
        "mailhaul_command": 1,
        "recipient": text_of(made),
        "command": arguments,
        "limit_seconds": limit,
    }
    return private(place / "ops.card", json.dumps(document))


@pytest.fixture(
    params=[
        pytest.param(file_of(Kem.X25519, None), id="x25519"),
        pytest.param(file_of(Kem.HYBRID, "passphrase"), id="hybrid"),
        pytest.param(shares, id="shares"),
        pytest.param(typed, id="paper"),
        pytest.param(age, id="age"),
        pytest.param(command, id="command"),
        pytest.param(several, id="several"),
    ]
)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    make: Callable[[Path], Made] = request.param
    return make(tmp_path)


def wrapped(to: Recipient, secret: bytes = CONTENT + STRUCTURE, info: bytes = b"info") -> Wrap:
    return Wrap(to.id, to.name, to.kem, wrap(to, secret, info))


def slot_for(*recipients: Recipient, salt: bytes = b"x" * 32, number: int = 1) -> Slot:
    archive = ArchiveId(b"a" * 16)
    return Slot(
        number=number,
        archive=archive,
        salt=salt,
        cipher=Cipher.AES_256_GCM,
        structure=structure_key(STRUCTURE).id,
        content=content_id(CONTENT),
        wraps=tuple(wrapped(to, info=wrap_info(archive, salt, to.id)) for to in recipients),
    )


def test_says_whose_it_is_and_opens_as_often_as_wanted(made: Made) -> None:
    to, identity = made
    assert to.id in identity.recipients
    assert len({identity.unwrap(wrapped(to), b"info") for _ in range(2)}) == 1
    assert identity.unwrap(wrapped(to), b"info") == CONTENT + STRUCTURE


def test_opens_a_slot(made: Made) -> None:
    to, identity = made
    assert open_slot(slot_for(to), identity) == (CONTENT, STRUCTURE)


def test_refuses_what_is_bound_to_something_else(made: Made) -> None:
    """Wrapped keys in another slot, of which the ids are the same."""
    to, identity = made
    slot = slot_for(to)
    moved = replace(slot, salt=b"y" * 32)
    with pytest.raises(DamagedError) as raised:
        open_slot(moved, identity)
    assert raised.value.facts["reason"] == "wrapped-key"


def test_refuses_other_keys(made: Made) -> None:
    """Whoever knows the public key can wrap any; the ids say which they have to be."""
    to, identity = made
    slot = slot_for(to)
    info = wrap_info(slot.archive, slot.salt, to.id)
    for secret in (b"", CONTENT, STRUCTURE + CONTENT, CONTENT + bytes(32), bytes(32) + STRUCTURE):
        with pytest.raises(DamagedError, match="wrapped key"):
            open_slot(replace(slot, wraps=(wrapped(to, secret, info),)), identity)


def test_refuses_a_damaged_wrap(made: Made) -> None:
    to, identity = made
    slot = slot_for(to)
    (whole,) = slot.wraps
    for sealed in (b"", whole.sealed[:-1], whole.sealed[:-1] + bytes((whole.sealed[-1] ^ 1,))):
        with pytest.raises(DamagedError):
            open_slot(replace(slot, wraps=(replace(whole, sealed=sealed),)), identity)


def test_another_wrap_that_is_whole_will_do(made: Made) -> None:
    to, identity = made
    slot = slot_for(to)
    (whole,) = slot.wraps
    spoiled = replace(whole, sealed=whole.sealed[:-1])
    for wraps in ((spoiled, whole), (whole, spoiled)):
        assert open_slot(replace(slot, wraps=wraps), identity) == (CONTENT, STRUCTURE)


def test_names_who_could_open_it(made: Made, tmp_path: Path) -> None:
    _, identity = made
    for name in ("vault", "boss"):
        make_recipient(tmp_path / "elsewhere", name, Kem.X25519, [None])
    others = [read_recipient(tmp_path / "elsewhere" / f"{name}.pub") for name in ("vault", "boss")]
    with pytest.raises(EncryptedError, match="wrapped for vault, boss") as raised:
        open_slot(slot_for(*others), identity)
    assert raised.value.facts["recipients"] == ("vault", "boss")
    with pytest.raises(AccessError):
        identity.unwrap(wrapped(others[0]), b"info")


def test_opens_for_another_recipient(made: Made, tmp_path: Path) -> None:
    to, identity = made
    added = make_recipient(tmp_path / "elsewhere", "added", Kem.HYBRID, [None])
    slots = (slot_for(to), slot_for(to, salt=b"z" * 32, number=2))
    sidecar = tuple(replace(one, wraps=rewrap(one, identity, [added, to])) for one in slots)
    assert [[wrap.name for wrap in one.wraps] for one in sidecar] == [["added"], ["added"]]
    later = opened(tmp_path / "elsewhere" / "added.secret")
    for slot in slots_with_sidecar(slots, sidecar):
        assert open_slot(slot, later) == open_slot(slot, identity) == (CONTENT, STRUCTURE)
        assert rewrap(slot, identity, [added]) == ()
    # A sidecar whose keys stand at other slots opens nothing, and does not get in the way.
    exchanged = (replace(sidecar[0], wraps=sidecar[1].wraps), replace(sidecar[1], wraps=sidecar[0].wraps))
    for slot in slots_with_sidecar(slots, exchanged):
        assert open_slot(slot, identity) == (CONTENT, STRUCTURE)
        with pytest.raises(DamagedError):
            open_slot(slot, later)
    foreign = tuple(replace(one, salt=b"q" * 32) for one in sidecar)
    assert slots_with_sidecar(slots, foreign) == slots


def test_an_identity_of_age_with_a_passphrase(tmp_path: Path) -> None:
    to, identity = age(tmp_path, locked=True)
    assert open_slot(slot_for(to), identity) == (CONTENT, STRUCTURE)
    with pytest.raises(AccessError, match="passphrase is wrong"):
        open_identity([tmp_path / "age.txt"], lambda path: "other", pytest.fail)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["/nonexistent/program"], "can't be started"),
        (["false"], "exit status 1"),
        (["sh", "-c", "sleep 60 & sleep 60"], "did not answer within 0.5 seconds"),
        (["sh", "-c", "cat >/dev/null; echo '*'"], "no base64"),
        (["sh", "-c", "cat >/dev/null; head -c 100000 /dev/zero"], "did not unwrap"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, arguments: list[str], told: str) -> None:
    to = make_recipient(tmp_path, "ops", Kem.X25519, [None])
    identity = opened(command_file(tmp_path, to, *arguments, limit=0.5 if "sleep" in arguments[-1] else 60))
    with pytest.raises(AccessError, match=told):
        identity.unwrap(wrapped(to), b"info")


def test_a_command_that_others_could_replace(tmp_path: Path) -> None:
    to = make_recipient(tmp_path, "ops", Kem.X25519, [None])
    file = command_file(tmp_path, to, "true")
    file.chmod(0o622)
    with pytest.raises(AccessError, match="others may write"):
        open_identity([file], passphrase, lambda told: None)
    for wrong in (0, -1, 4000, True, "1", None):
        with pytest.raises(AccessError, match="limit_seconds"):
            opened(command_file(tmp_path, to, "true", limit=wrong))
    with pytest.raises(AccessError, match="list of strings"):
        opened(command_file(tmp_path, to))


@pytest.mark.parametrize("text", ["", "text", "{}", "{", "[]", "AGE-SECRET-KEY-1XXX", "age1xxx"])
def test_what_is_no_identity(tmp_path: Path, text: str) -> None:
    with pytest.raises(AccessError, match="file"):
        opened(private(tmp_path / "file", text))
    with pytest.raises(AccessError, match="no identity"):
        opened()


def test_a_public_key_is_no_identity(tmp_path: Path) -> None:
    make_recipient(tmp_path, "ops", Kem.X25519, [None])
    with pytest.raises(AccessError, match="is a public key"):
        opened(tmp_path / "ops.pub")  # whose mode is nothing to warn of
