"""Names that try to be more than text, and one line of it each."""

MARK = "document.title='run'"  # what a script among them would do
NAMES = (
    f"<script>{MARK}</script>",
    f"</style></script><script>{MARK}</script>",
    f'--><img src=x onerror="{MARK}">',
    f'\'" onload="{MARK}" x=\'',
    f"javascript:{MARK}",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{0}$ $",
    "a/../../b\\c",
    '#0072B2 url(#x) id="y" href="#z"',
    "\u202egnp.tac\u200f",
    "\u062c\u0645\u0644",
    "\u718a\u732b",
    "\U0001f469\u200d\U0001f692",
    "<b>" * 3400,
)
