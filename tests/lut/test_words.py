from lut.words import first_line


def test_the_first_line_of_an_error_is_cut_and_printable():
    assert first_line(ValueError("\n  no \x1b[31mcolumn\nsecond line")) == "no column"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("x" * 300), longest=10) == "x" * 9 + "…"
