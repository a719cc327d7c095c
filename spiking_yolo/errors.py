"""What a user hears from us: an error for mistakes that can be mended, a notice for what to know."""


class UserError(ValueError):
    """Bad input. The message is one line that says what is wrong and what to do; tools exit with status 2."""


class Notice(UserWarning):
    """What the user should know about a result; tools print it as one line on stderr and go on."""
