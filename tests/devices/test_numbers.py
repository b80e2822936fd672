import re

import pytest

from devices.numbers import digits, spans, whole


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), (" 1804800\n", 1804800), ("123456789", 123456789), ("1234567890", None), ("9" * 5000, None),
        ("-3", None), ("+3", None), ("3.0", None), ("0x10", None), ("1_0", None), ("٣", None), ("²", None),
        ("1 2", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_whole_number_is_read_and_nothing_else(text, number):
    assert whole(text) == number


def test_a_sign_and_more_digits_are_read_where_they_are_asked_for():
    assert whole("-3", signed=True) == -3
    assert whole("9223372036854771712", 20) == 9223372036854771712
    assert whole("10000", 4) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", ((0, 0),)), ("0-3,6", ((0, 3), (6, 6))), (" 1 , 2-3 ", ((1, 1), (2, 3))), ("", None), ("0,", None),
        ("0-", None), ("-1", None), ("a", None), ("0-99999", None),
    ],
)  # fmt: skip
def test_a_list_of_numbers_is_read_as_its_parts(text, found):
    assert spans(text) == found


def test_digits_are_those_of_the_pattern_they_stand_in():
    assert re.fullmatch(rf"cpu({digits(2)})", "cpu12")[1] == "12"
    assert re.fullmatch(rf"cpu({digits(2)})", "cpu123") is None
