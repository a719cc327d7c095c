"""The one error type for mistakes that the user can mend."""


class UserError(ValueError):
    """Bad input. The message is one line that says what is wrong and what to do; tools exit with status 2."""
