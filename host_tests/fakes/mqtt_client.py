"""What tests with aiomqtt's client share."""

import aiomqtt


def hush(client: aiomqtt.Client) -> None:
    """Of a client whose connection failed, as it should: it would say so in the log of whichever
    test comes later, when it is collected."""
    if client._disconnected.done():
        client._disconnected.exception()
