"""Answers as a person reads them: a sentence, a table, and what to ask next."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workflows.trace.answers import Answer

MAX_ROWS = 20
MAX_NAME_CHARS = 60
ID_CHARS = 12


def show_summary(answer: Answer, console: Console, *, every: bool) -> None:  # noqa: ARG001 - as the others
    """What can be traced."""
    size = f"{answer['batch_sequences']:,} sequences x {answer['sequence_tokens']:,} tokens"
    _line(console, f"{answer['run']}")
    _line(console, f"{answer['num_steps']:,} steps x {size} = {answer['num_tokens']:,} tokens")
    _line(console, f"order {answer['order']}, packing {answer['packing']}, ledger {answer['ledger_digest']}")
    _line(console, "ask --step N, --step N --sample K, --spikes, --document ID|DOI|PATH or --licence")


def show_step(answer: Answer, console: Console, *, every: bool) -> None:
    """The documents of a step or of one sequence of it, and the sequence's text."""
    where = f"step {answer['step']}" + (f", sample {answer['sample']}" if answer["sample"] else "")
    _line(console, f"{where}: {_amount(answer)} of {_count(answer['documents'], 'document')}; as the ledger has it")
    for note in answer["notes"]:
        _line(console, note)
    rows = [
        (d["doc_id"][:ID_CHARS], _name(d), _ranges(d["pages"]), d["source"], d["licence"], f"{d['num_tokens']:,}")
        for d in answer["documents"]
    ]
    _table(console, ("document", "title", "pages", "source", "licence", "tokens"), rows, every=every)
    for piece in answer.get("pieces", ()):
        _piece(piece, console)


def _piece(piece: Answer, console: Console) -> None:
    begins = "begins here" if piece["begins"] else "began before"
    ends = "ends here" if piece["ends"] else "goes on after"
    words = f"its tokens {piece['first_token']:,}..{piece['last_token']:,}; it {begins} and {ends}"
    _line(console, f"\n--- {piece['doc_id'][:ID_CHARS]}, {words} ---", style="dim")
    _line(console, piece["text"])


def show_spikes(answer: Answer, console: Console, *, every: bool) -> None:
    """What each spike was, why, what was done, and the documents that it is laid on."""
    _line(console, f"{_count(answer['spikes'], 'spike')} in {answer['num_steps']:,} steps")
    for spike in answer["spikes"]:
        loss = f"loss {spike['loss']:.4g}, expected {spike['expected_loss']:.4g}"
        norm = f"gradient norm {spike['gradient_norm']:.4g}, expected {spike['expected_gradient_norm']:.4g}"
        _line(console, f"\nstep {spike['step']:,}, since {spike['onset']:,}: {loss}; {norm}")
        _show_cause(spike, console, every=every)
        _show_spiked(spike, console, every=every)
    if answer["spikes"]:
        _line(console, "\nmeasure one again, with and without its sequences: parsl replay-spike --step N")


def show_replay(answer: Answer, console: Console, *, every: bool) -> None:
    """A spike's measurements once more, what they say, and the documents that it is laid on."""
    start = f"step {answer['step']:,}, from the checkpoint of step {answer['checkpoint_step']:,}"
    _line(console, f"{start}: {answer['finding']}")
    rows = [
        (m["what"], f"{m['loss']:.4f}", "" if m["gradient_norm"] is None else f"{m['gradient_norm']:.4g}")
        for m in answer["measured"]
    ]
    _table(console, ("measured", "loss", "gradient norm"), rows, every=True, numbers=(1, 2))
    _show_cause(answer, console, every=every)
    _show_spiked(answer, console, every=every)
    if answer["documents"]:
        _line(console, f"\nwhat became of a document: parsl why {answer['documents'][0]['doc_id'][:ID_CHARS]}")


def _show_cause(spike: Answer, console: Console, *, every: bool) -> None:
    back = "" if spike["restart_step"] is None else f" to step {spike['restart_step']:,}"
    _line(console, f"class {spike['cause']}: {spike['evidence']}; done: {spike['action']}{back}")
    rows = [
        (f"{s['step']:,}", f"{s['sequence']:,}", s["source"], f"{s['loss']:.4g}", "yes" if s["left_out"] else "no")
        for s in spike["suspects"]
    ]
    if rows:
        _table(console, ("step", "sequence", "source", "loss", "left out"), rows, every=every, numbers=(0, 1, 3))


def _show_spiked(spike: Answer, console: Console, *, every: bool) -> None:
    named = [(d["doc_id"][:ID_CHARS], _name(d), _ranges(d["pages"]), d["source"]) for d in spike["documents"]]
    if named:
        _table(console, ("document", "title", "pages", "source"), named, every=every, numbers=())


def show_document(answer: Answer, console: Console, *, every: bool) -> None:
    """The steps that saw a document, or `never`."""
    _line(console, f"{answer['doc_id'][:ID_CHARS]}  {answer['title'] or ''}".rstrip())
    _line(console, f"{answer['path'] or ''}" + (f"  doi {answer['doi']}" if answer["doi"] else ""))
    if answer["never"]:
        _line(console, f"never seen, up to step {answer['num_steps']:,}: {answer['never']}")
        return
    _line(console, f"source {answer['source']}, licence {answer['licence']}, {answer['num_tokens']:,} tokens")
    times = f"{answer['num_seen']:,} tokens, {answer['epochs']:.2f} times the document"
    _line(console, f"seen at {_count(answer['steps'], 'step')} of {answer['num_steps']:,}: {times}")
    rows = [(f"{s['step']:,}", f"{s['num_tokens']:,}", f"{s['num_sequences']:,}") for s in answer["steps"]]
    _table(console, ("step", "tokens", "samples"), rows, every=every, numbers=(0, 1, 2))
    if any(s["num_tokens"] == 0 for s in answer["steps"]):
        _line(console, "0 tokens: its first token was the last target of a sample, and no input")


def show_licences(answer: Answer, console: Console, *, every: bool) -> None:
    """Tokens by licence, and by source within each."""
    _line(console, f"{answer['num_steps']:,} steps, {answer['num_tokens']:,} tokens; every step as the ledger has it")
    for note in answer["notes"]:
        _line(console, note)
    by_licence: dict[str, list[Answer]] = defaultdict(list)
    for share in answer["shares"]:
        by_licence[share["licence"]].append(share)
    rows: list[Sequence[Any]] = []
    for licence, shares in sorted(by_licence.items(), key=lambda item: -sum(s["num_tokens"] for s in item[1])):
        rows.append((licence, "", *_sums(shares, answer)))
        rows += [("", s["source"], *_sums([s], answer)) for s in shares]
    if answer["num_padding"]:
        rows.append(("(padding)", "", f"{answer['num_padding']:,}", _share(answer["num_padding"], answer), ""))
    columns = ("licence", "source", "tokens", "share", "documents")
    _table(console, columns, rows, every=every, numbers=(2, 3, 4))


def _sums(shares: Sequence[Answer], answer: Answer) -> tuple[str, str, str]:
    tokens = sum(s["num_tokens"] for s in shares)
    return f"{tokens:,}", _share(tokens, answer), f"{sum(s['num_documents'] for s in shares):,}"


def _share(tokens: int, answer: Answer) -> str:
    return f"{100 * tokens / answer['num_tokens']:.2f} %"


def _amount(answer: Answer) -> str:
    padding = f" and {answer['num_padding']:,} of padding" if answer["num_padding"] else ""
    return f"{answer['num_tokens']:,} tokens{padding}"


def _count(rows: Sequence[Any], word: str) -> str:
    return f"{len(rows):,} {word}{'' if len(rows) == 1 else 's'}"


def _name(document: Answer) -> str:
    name = document["title"] or document["path"] or ""
    return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"


def _ranges(pages: Iterable[int]) -> str:
    """`3, 7-9`."""
    found: list[list[int]] = []
    for page in pages:
        if found and page == found[-1][1] + 1:
            found[-1][1] = page
        else:
            found.append([page, page])
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in found)


def _table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    every: bool,
    numbers: Sequence[int] = (5,),
) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(columns):
        justify: Literal["right", "left"] = "right" if number in numbers else "left"
        table.add_column(heading, header_style="dim", overflow="fold", justify=justify)
    shown = rows if every else rows[:MAX_ROWS]
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    if len(shown) < len(rows):
        _line(console, f"and {len(rows) - len(shown):,} more (--all shows them)")


def _line(console: Console, words: str, style: str | None = None) -> None:
    console.print(Text(words), style=style)
