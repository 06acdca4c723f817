"""The driver's display as a model of text: 4 lines of 20 ASCII characters."""

COLUMNS = 20
LINES = 4


def fit(text):
    """`text` in exactly 20 ASCII characters: cut, padded, anything else shown as `?`."""
    line = text[:COLUMNS]
    # By bytes first: a board interns each character that it looks at, for good.
    if not all([32 <= byte <= 126 for byte in line.encode()]):
        line = "".join([c if " " <= c <= "~" else "?" for c in line])
    return line + " " * (COLUMNS - len(line))


class TextDisplay:
    """`render` is called with a list of 4 strings of 20 characters, only when they change."""

    def __init__(self, render):
        self._render = render
        self.lines = None

    def show(self, lines):
        """Shows up to 4 lines; missing ones are blank. Returns whether anything changed."""
        fitted = [fit(lines[i]) if i < len(lines) else fit("") for i in range(LINES)]
        if fitted == self.lines:
            return False
        self._render(fitted)
        # Kept only now: what failed to be rendered is tried again by the next call.
        self.lines = fitted
        return True
