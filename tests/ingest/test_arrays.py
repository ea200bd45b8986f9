"""Arrays decoded in steps mean what they mean decoded whole, and no step has more to do than another."""

from __future__ import annotations

import json
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.ingest import arrays
from likd.ingest.arrays import read_array
from likd.ingest.schema import Event, IngestError, decode_events
from likd.runtime.cooperative import finish

EVENTS = st.fixed_dictionaries({"kind": st.text(max_size=3), "url": st.text(alphabet='a"}{],[\\ é', max_size=8)})
BLANKS = st.sampled_from(["", " ", "\n  ", "\t\r\n"])


@given(
    st.lists(EVENTS, max_size=12),
    BLANKS,
    st.sampled_from([None, "}", "]", ",", "1", "[", "{}", '"']),
    st.integers(0, 400),
    st.sampled_from([48, 200, 1 << 16]),
)
def test_an_array_is_what_it_is_decoded_whole(
    events: list[dict[str, str]], blank: str, damage: str | None, place: int, window: int
) -> None:
    text = f"[{blank}{f'{blank},{blank}'.join(json.dumps(event) for event in events)}{blank}]"
    if damage is not None:
        text = text[:place] + damage + text[place:]
    body = text.encode()
    try:
        whole: list[Event] | None = decode_events(body)
    except msgspec.DecodeError:
        whole = None
    if not body.startswith(b"["):
        return
    with patch.object(arrays, "WINDOW_BYTES", window):
        try:
            in_steps: list[Event] | None = finish(read_array(body))
        except IngestError:
            in_steps = None
    assert in_steps == whole or (in_steps is None and len(body) > 2 * window)


@pytest.mark.parametrize("trailing", ["}", " }", "]"])
def test_what_follows_the_last_window_is_an_error_too(trailing: str) -> None:
    body = b'[{"kind":"a","url":"b"} ,{"kind":"a","url":"c"}]'
    with patch.object(arrays, "WINDOW_BYTES", 24):
        for padded in range(2 * 24):
            with pytest.raises(IngestError):
                finish(read_array(body[:-1] + b" " * padded + b"]" + trailing.encode()))


def test_an_error_is_told_with_its_place_in_the_whole_array() -> None:
    good = '{"kind":"like","url":"https://example.com/"}'
    body = f"[{', '.join([good] * 5000)}, {good.replace('kind', 'kin')}]".encode()
    with pytest.raises(IngestError) as refused:
        finish(read_array(body))
    assert (refused.value.place["index"], refused.value.place["field"]) == (5000, "kin")


@pytest.mark.parametrize(
    "body",
    [
        b"["
        + b', \n{"kind":"like","url":"https://example.com/"}'[2:]
        + b', \n{"kind":"like","url":"x"}' * 30_000
        + b"]",
        b"[" * 1_000_000,
        b'[{"kind":"like","url":"' + b"x" * 1_000_000 + b'"}]',
        b'[{"' + b'}"{' * 300_000 + b"]",
        b"[" + b" " * 1_000_000 + b"]",
    ],
    ids=["many", "deep", "large", "quotes", "blank"],
)
def test_no_step_decodes_more_than_two_windows(body: bytes) -> None:
    decoded: list[int] = []

    def record(data: bytes) -> list[Event]:
        decoded.append(len(data))
        return decode_events(data)

    with patch.object(arrays, "decode_events", record):
        try:
            finish(read_array(body))
        except IngestError as error:
            assert error.detail
    assert max(decoded) <= 2 * arrays.WINDOW_BYTES + 1
