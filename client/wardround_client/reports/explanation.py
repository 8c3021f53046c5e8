"""The answer to "what becomes of this file": steps in plain words, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from wardround_client.quarantine import Reason


@dataclass(slots=True)
class Explanation:
    """Steps in plain words, and the first reason against the file."""

    steps: list[tuple[str, list[str]]] = field(default_factory=list)
    reason: Reason | None = None

    def say(self, step: str, *lines: str) -> None:
        """Adds lines to a step."""
        if not self.steps or self.steps[-1][0] != step:
            self.steps.append((step, []))
        self.steps[-1][1].extend(lines)

    def refuse(self, step: str, reason: Reason) -> None:
        """Notes a reason; the first one decides."""
        self.say(step, f"set aside: {reason.value}")
        self.reason = self.reason or reason


def print_explanation(found: Explanation, console: Console) -> None:
    """Prints the steps, and the verdict with its meaning and cure."""
    for step, lines in found.steps:
        console.print(Text(step, style="bold"))
        for line in lines:
            console.print(Text(f"  {line}"), soft_wrap=True)
    if found.reason is None:
        console.print(Text("Verdict: usable", style="bold green"))
        return
    console.print(Text(f"Verdict: {found.reason.value}", style="bold yellow"))
    console.print(Text(f"  {found.reason.explanation}"), soft_wrap=True)
    console.print(Text(f"  What to do: {found.reason.cure}"), soft_wrap=True)
