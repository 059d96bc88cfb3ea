"""The one exception that a user of the test bed sees: a message without a traceback."""


class TestbedError(Exception):
    """Something the user can act on; the text names the value, the rule and the remedy."""

    __test__ = False  # not a test class, whatever pytest makes of the name
