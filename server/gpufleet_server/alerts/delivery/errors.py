"""Why an alert was not delivered."""


class NotDelivered(Exception):
    """A receiver did not take it; the text says why, without secrets.

    `final`: trying again is of no use. `after`: seconds that the receiver asks to be left alone. `status`: of HTTP.
    """

    def __init__(
        self, text: str, *, final: bool = False, after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(text)
        self.final, self.after, self.status = final, after, status


class ReceiversError(Exception):
    """The file of receivers can't be used; the text names the entry and what is wrong with it."""
