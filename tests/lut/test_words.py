from lut.words import first_line, quoted


def test_the_first_line_of_an_error_is_cut_and_printable():
    assert first_line(ValueError("\n  no \x1b[31mcolumn\nsecond line")) == "no column"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("x" * 300), longest=10) == "x" * 9 + "…"


def test_a_quoted_value_stands_as_it_was_given():
    assert [quoted(text) for text in ("", " 0", "a\nb", "\x1b[31mred\x00")] == ["''", "' 0'", "'a b'", "'red?'"]
    assert quoted("x" * 50, 10) == f"'{'x' * 9}…'"
