"""OCPI 2.2.1: charge detail records out, tokens, tariffs and locations in."""
