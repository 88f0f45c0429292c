"""What stands on a page: its tables and texts, read from the markup as a browser does."""

from html.parser import HTMLParser

VOID = ("meta", "br")


class Page(HTMLParser):
    """Reads a page, of which every element has to be closed, and nothing loads or runs anything.

    Attributes:
        tables: the texts of the cells ``[[cell, …], …]`` by caption.
        texts: of the elements of each tag.
        tags: of all elements, in order.
    """

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.texts = [], [], {}, {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes, closed=False):
        assert tag not in ("script", "link", "iframe", "img", "object", "embed", "base", "form")
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attributes)
        self.tags.append(tag)
        if tag == "tr":
            self._rows.append([])
        if tag not in VOID and not closed:
            self.open.append((tag, []))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes, closed=True)

    def handle_data(self, data):
        for _, parts in self.open:
            parts.append(data)

    def handle_endtag(self, tag):
        opened, parts = self.open.pop()
        assert opened == tag
        text = "".join(parts)
        self.texts.setdefault(tag, []).append(text)
        if tag == "figcaption":
            self._caption, self._rows = text, []
        elif tag in ("td", "th"):
            self._rows[-1].append(text)
        elif tag == "table":
            self.tables[self._caption] = self._rows
