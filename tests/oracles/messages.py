"""Progress of which the messages are kept."""

from jdetrt.progress import SilentProgress


class Messages(SilentProgress):
    """Keeps what it is told in a list."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def message(self, text: str) -> None:
        self.heard.append(text)
