"""Signatures as Segment makes them, and as nobody else can."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bridge import signature
from stream.bridge.payload import EVENT_BYTES_MAX, RequestRejectedError
from stream.bridge.signature import Batches, Verifier, first_element

SECRET, FORMER = b"a-secret", b"a-former-secret"
EVENT = '{"type":"track","userId":"ü","n":1.50}'.encode()
OTHER = b'{"userId":"forged"}'


def sign(text: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, text, hashlib.sha1).hexdigest()


def verify(
    signature: str | None,
    text: bytes,
    *,
    sent: bytes | None = None,
    batches: Batches = Batches.REJECT,
) -> bool:
    verifier = Verifier(lambda: [SECRET, FORMER], batches)
    try:
        verifier.check(verifier.check_form(signature), text, sent=sent)
    except RequestRejectedError as refusal:
        return refusal.status != 401
    return True


NODES = (
    '{"type":"identify","userId":"019mr8mf4r","traits":{"name":"Achillés ☃ 😀","n":1e+21,"x":1.5}}'
)
NODES_SIGNATURE = "964cbb0602378246054c4ce78149b8bd0a03f111"
"""Made with node 20: createHmac("sha1", "a-secret").update(JSON.stringify(event), "utf8")."""


def test_what_node_signs_is_taken_alone_and_as_the_first_of_an_array():
    """No JSON of ours would write these numbers: the bytes count as they came."""
    assert verify(NODES_SIGNATURE, NODES.encode())
    array = f'[{NODES},{{"userId":"2"}}]'.encode()
    assert verify(NODES_SIGNATURE, array, batches=Batches.ACCEPT)
    assert not verify(NODES_SIGNATURE, array, batches=Batches.REJECT)


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("signed", [EVENT, MARK + EVENT])
def test_a_byte_order_mark_on_the_way_costs_no_event(signed):
    assert verify(sign(signed), MARK + EVENT)
    assert verify(sign(EVENT), MARK + b"[" + EVENT + b"]")
    assert not verify(sign(signed, b"another"), MARK + EVENT)


def test_both_secrets_count_during_a_rotation():
    assert verify(sign(EVENT), EVENT)
    assert verify(sign(EVENT, FORMER), EVENT)
    assert not verify(sign(EVENT, b"another"), EVENT)


@pytest.mark.parametrize("signature", [None, "", "sha1=", "0" * 39, "g" * 40, "ü" * 40, "0" * 41])
def test_what_is_no_signature_is_refused_before_the_body_is_looked_at(signature):
    with pytest.raises(RequestRejectedError):
        Verifier(lambda: [SECRET], Batches.ACCEPT).check_form(signature)


def test_upper_case_digits_are_the_same_digits():
    assert verify(sign(EVENT).upper(), EVENT)


@given(st.binary(max_size=60), st.integers(0, 59), st.integers(1, 255))
def test_one_changed_byte_is_a_forgery(text, position, change):
    position %= max(1, len(text))
    forged = bytearray(text or b"x")
    forged[position] ^= change
    assert verify(sign(text), text)
    assert not verify(sign(text), bytes(forged), batches=Batches.ACCEPT)


def test_a_packed_body_may_be_signed_as_it_was_sent():
    assert verify(sign(b"packed"), EVENT, sent=b"packed")
    assert verify(sign(EVENT), EVENT, sent=b"packed")


@pytest.mark.parametrize("batches", list(Batches))
def test_an_array_that_is_signed_as_a_whole_is_taken(batches):
    text = b"[" + EVENT + b"," + OTHER + b"]"
    assert verify(sign(text), text, batches=batches)


def test_of_an_array_with_its_first_event_signed_the_setting_decides():
    """Whoever saw one signed event could put anything behind it."""
    text = b"[" + EVENT + b"," + OTHER + b"]"
    assert verify(sign(EVENT), text, batches=Batches.ACCEPT)
    assert not verify(sign(EVENT), text, batches=Batches.REJECT)


@pytest.mark.parametrize("batches", list(Batches))
@pytest.mark.parametrize("text", [b"[" + EVENT + b"]", b" [\n" + EVENT + b" ]\r\n"])
def test_an_array_of_one_is_signed_in_full(text, batches):
    assert verify(sign(EVENT), text, batches=batches)


@pytest.mark.parametrize("batches", list(Batches))
def test_the_second_event_of_an_array_signs_nothing(batches):
    text = b"[" + OTHER + b"," + EVENT + b"]"
    assert not verify(sign(EVENT), text, batches=batches)


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.lists(values, min_size=1, max_size=3), st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_the_first_element_is_cut_out_byte_by_byte(array, separators):
    """Blanks, digits and escapes stay as they came: they were signed like that."""
    first = json.dumps(array[0], separators=separators, ensure_ascii=False)
    rest = [json.dumps(value, separators=separators) for value in array[1:]]
    text = "[" + separators[0].join([first, *rest]) + "]"
    if "\ud800" <= max(text) <= "\udfff":
        return
    assert first_element(text.encode()) == (first.encode(), len(array) == 1)


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[]", b"{}", b"[{", b"[" * 100_000, b"\xff", b'["a', b"[1" + b"0" * 9_999]
)
def test_what_has_no_first_element_has_none(text):
    first, _ = first_element(text)
    assert first is None or text.startswith(b"[1")


# What is not proved yet costs no more than one event


class Counted:
    """Counts the numbers that a scan reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers = 0
        scanner = json.JSONDecoder(parse_int=self._read, parse_float=str)
        monkeypatch.setattr(signature, "_SCANNER", scanner)

    def _read(self, digits: str) -> str:
        self.numbers += 1
        return digits


@pytest.mark.parametrize("before", [b"[[", MARK + b" [ [", b"[" + b" " * 400_000 + b"["])
def test_of_an_array_one_event_is_scanned_at_most(monkeypatch, before):
    counted = Counted(monkeypatch)
    text = before + b"1," * 50_000 + b"1]]"
    assert not verify("0" * 40, text, batches=Batches.ACCEPT)
    assert 0 < counted.numbers <= EVENT_BYTES_MAX


def test_what_is_no_array_is_not_scanned(monkeypatch):
    counted = Counted(monkeypatch)
    assert not verify("0" * 40, b'{"a":[1,1,1]}')
    assert not verify("0" * 40, b" " * 400_000 + b"1")
    assert counted.numbers == 0


@pytest.mark.parametrize("letter", ["x", "ü", "☃"])
def test_the_longest_event_of_an_array_is_found_and_no_longer_one(letter):
    """The scan may end within a character."""
    text = letter * ((EVENT_BYTES_MAX - 14) // len(letter.encode()))
    longest = f'{{"userId":"{text}'.encode().ljust(EVENT_BYTES_MAX - 2, b"x") + b'"}'
    assert verify(sign(longest), b"[" + longest + b"," + OTHER + b"]", batches=Batches.ACCEPT)
    longer = longest[:-2] + b'x"}'
    assert not verify(sign(longer), b"[" + longer + b"]")


def test_a_number_is_not_cut_where_the_scan_ends():
    digits = b"1" * (EVENT_BYTES_MAX + 9)
    assert first_element(b"[" + digits + b"]") == (None, False)
    assert first_element(b"[" + digits[:EVENT_BYTES_MAX] + b"]")[1]
