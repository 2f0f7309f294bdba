"""A page read back with the standard library's parser: tables, texts and addresses."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "circle", "path", "use", "stop", "rect"}


class Page(HTMLParser):
    """Attributes:

    tables: for each table its caption, and rows of (tag, attributes, text).
    addresses: every src and href.
    tags: (tag, attributes) in order.
    text: all that a reader sees.
    """

    def __init__(self, html):
        super().__init__()
        self.tables, self.addresses, self.tags, self.text = [], [], [], ""
        self.open, self.style, self.svg = [], "", 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]
        if tag == "table":
            self.tables.append({"caption": "", "rows": [], "attributes": attributes})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append([tag, attributes, ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif self.open and {"td", "th"} & set(self.open):
            self.tables[-1]["rows"][-1][-1][2] += " ".join(data.split())

    def table(self, word):
        """The cells of the table whose caption or first row holds a word."""
        for table in self.tables:
            head = table["caption"] + " ".join(cell[2] for cell in table["rows"][0])
            if word in head:
                return [[cell[2] for cell in row] for row in table["rows"]]
        raise AssertionError(f"no table about {word}")
