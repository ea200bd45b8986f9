"""Files of starting counts: what is wrong is told with its line, and what is right is read once and again."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likd.cli.startingcounts import BadFile, CountsFile, is_csv

NAMES = frozenset(["likes", "unlikes", "impressions"])
URL = "https://s.example/"


def rows(data: bytes | str, *, as_csv: bool = True) -> list[dict[str, object]]:
    file = CountsFile(io.BytesIO(data.encode() if isinstance(data, str) else data), "f", NAMES)
    first = list(file.rows(as_csv=as_csv))
    assert list(file.rows(as_csv=as_csv)) == first
    return [json.loads(row.data) for row in first]


@pytest.mark.parametrize(
    "text",
    [
        f"url,likes\n{URL},7\n",
        f"\ufeffurl,likes\r\n{URL},7\r\n",
        f"url;likes\n{URL};7",
        f"url\tlikes\n{URL}\t7\n\n",
        f'likes, url ,impressions\n007,"{URL}",\n',
        f"url,likes,net\n{URL},7,-3\n",
    ],
)
def test_csv_as_programs_write_it_is_read(text: str) -> None:
    assert rows(text) == [{"url": URL, "likes": 7}]


def test_ndjson_may_have_blank_lines_and_what_an_export_derives() -> None:
    text = f'\ufeff\n{{"url":"{URL}","likes":7,"net":-3}}\n\n'
    assert rows(text, as_csv=False) == [{"url": URL, "likes": 7}]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("page,likes\n", "f: line 1: the header has no url column"),
        ("url,likes,likes\n", "f: line 1: column 'likes' occurs twice"),
        (f"url,likes\n{URL},1\n{URL}\n", "f: line 3: 1 values instead of 2"),
        (f"url,likes\n{URL},1,2\n", "f: line 2: 3 values instead of 2"),
        (f"url,likes\n\n{URL},x\n", "f: line 3: likes is 'x'"),
        (f"url,likes\n{URL},-1\n", "f: line 2: likes is '-1'"),
        (f"url,likes\n{URL},١\n", "f: line 2: likes is"),
        (f"url,likes\n{URL},{'9' * 5000}\n", "more than 2^53"),
        (f"url,loves\n{URL},1\n", "f: line 2: 'loves' is not a count"),
        ("url,likes\nx,1\n", "f: line 2: url is 'x'"),
        (f'url,likes\n{URL},1\n"{URL},2\n', "f: line 3: unexpected end of data"),
        (f"url,likes\n{URL},1\n".encode("utf-16"), "f: line 1: the text is UTF-16"),
        (f"url,likes\n{URL},1\n".encode("utf-16-le"), "f: line 1: the text is UTF-16"),
        (
            b"url,likes\n" + b"https://s.example/,1\n" * 3 + b"https://s.example/\xe4,1\n",
            "f: line 5: byte 19 is not UTF-8",
        ),
        ("url,likes\n" + "x" * 70_000, "f: line 2: the line is longer than"),
    ],
)
def test_what_is_wrong_in_csv_is_told_with_its_line(data: bytes | str, said: str) -> None:
    with pytest.raises(BadFile) as refused:
        rows(data)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ("[]", "Expected"),
        ("{}", "the URL is missing"),
        ('{"url":7}', "the URL is missing or not a string"),
        (f'{{"url":"{URL}","likes":1e400}}', "likes is '1e400', not a whole number"),
        (f'{{"url":"{URL}","likes":1{"0" * 400}}}', "more than 2^53"),
        (f'{{"url":"{URL}","likes":"1"}}', "not a whole number"),
        (f'{{"url":"{URL}","likes":{"[" * 5000}', ""),
        (f'{{"url":"{URL}","likes":1}} {{}}', "trailing"),
    ],
)
def test_what_is_wrong_in_ndjson_is_told_with_its_line(line: str, said: str) -> None:
    with pytest.raises(BadFile) as refused:
        rows(f'{{"url":"{URL}"}}\n\n{line}\n', as_csv=False)
    assert str(refused.value).startswith("f: line 3: ")
    assert said in str(refused.value)


@given(st.binary(max_size=200), st.booleans())
def test_any_file_is_rows_or_one_line_that_says_why_not(data: bytes, as_csv: bool) -> None:
    for head in (b"", b"url,likes\n", b'{"url":"https://s.example/","likes":'):
        try:
            found = rows(head + data, as_csv=as_csv)
        except BadFile as error:
            assert str(error).isprintable()
        else:
            assert all(isinstance(row["url"], str) for row in found)


def test_csv_is_known_by_name_or_by_looking() -> None:
    assert is_csv(io.BytesIO(b"{}"), "f.csv")
    assert not is_csv(io.BytesIO(b"url"), "f.ndjson")
    assert is_csv(io.BytesIO(b"url,likes\n"), "standard input")
    assert not is_csv(io.BytesIO(b'\xef\xbb\xbf {"url":1}'), "standard input")
