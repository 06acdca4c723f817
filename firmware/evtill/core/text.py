"""Text that signed bytes are made of: JSON strings and civil time, from integers, without json."""


def plain(text):
    """Whether `text` is all printable ASCII.

    By its bytes: a board interns each character that it looks at, which costs heap for good."""
    try:
        return all([32 <= byte <= 126 for byte in text.encode()])
    except UnicodeError:
        return False


def quote(text):
    """`text` as a JSON string of printable ASCII without a bare `|` (OCMF splits on it).

    The same bytes on every interpreter: json.dumps differs in what it escapes."""
    if plain(text) and not ('"' in text or "\\" in text or "|" in text):
        return '"' + text + '"'
    out = '"'
    for c in text:
        o = ord(c)
        if c in '"\\':
            out += "\\" + c
        elif 32 <= o < 127 and c != "|":
            out += c
        elif o < 0x10000:
            out += "\\u%04x" % o
        else:
            o -= 0x10000
            out += "\\u%04x\\u%04x" % (0xD800 + (o >> 10), 0xDC00 + (o & 1023))
    return out + '"'


def civil(unix_s):
    """`YYYY-MM-DDThh:mm:ss` of Unix seconds (add the zone's offset first for local time).

    Proleptic Gregorian, eras of 146,097 days that begin on 1 March (as in C++20's chrono)."""
    days, s = divmod(unix_s, 86400)
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    return "%04d-%02d-%02dT%02d:%02d:%02d" % (
        year + era * 400 + (1 if month > 9 else 0), (month + 2) % 12 + 1,
        day - (153 * month + 2) // 5 + 1, s // 3600, s // 60 % 60, s % 60,
    )  # fmt: skip
