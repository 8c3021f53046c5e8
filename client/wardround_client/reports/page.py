"""One report, shown on the terminal and written as one HTML file that needs nothing else.

A report is pages of plain texts and tables; the terminal prints the same tables as the page, so
the two never tell different things.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console
from rich.text import Text

from wardround_client.reports.grid import Grid, print_grid
from wardround_client.storage import make_private_folder
from wardround_common.files import write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number that stands out."""

    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One thumbnail, or why there is none; stays at the site."""

    title: str
    caption: str
    png_base64: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a page."""

    key: str
    title: str
    text: str = ""
    grids: tuple[Grid, ...] = ()
    pictures: tuple[Picture, ...] = ()
    side_by_side: bool = True
    """Whether narrow tables share a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One report."""

    title: str
    eyebrow: str
    lead: str
    tiles: tuple[Tile, ...] = ()
    warnings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    footer: str = ""


def render_page(page: Page) -> str:
    """The page as HTML; every text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(page=page)


def print_page(page: Page, console: Console) -> None:
    """Prints the page's words and tables."""
    console.print(Text(page.title, style="bold underline"))
    console.print(Text(page.lead))
    for warning in page.warnings:
        console.print(Text(f"! {warning}", style="yellow"))
    console.print()
    for section in page.sections:
        for grid in section.grids:
            print_grid(grid, console)


def write_private(path: Path, content: str) -> None:
    """Replaces ``path`` by a file that only its owner may read, in a folder closed to others.

    Raises:
        OSError: The file cannot be written.
    """
    make_private_folder(path.parent)
    write_atomically(path, content.encode(), mode=0o600)
