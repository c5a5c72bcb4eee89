"""Which conversations and preferences can be learnt from, in the form that TRL takes.

Formats: https://huggingface.co/docs/trl/dataset_formats (conversational language modelling; conversational preference).
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.training import Conversation, Message, Preference

Turns = list[dict[str, str]]
NO_ANSWER, TOO_LONG = "no answer", "too long"


@dataclass
class Examples:
    """Rows by split, and how many were left out and why."""

    train: list[dict[str, Turns]] = field(default_factory=list)
    validation: list[dict[str, Turns]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, split: Literal["train", "validation"], example: dict[str, Turns], problem: str | None) -> None:
        """Take one row, or count why not."""
        if problem:
            self.left_out[problem] += 1
        else:
            (self.train if split == "train" else self.validation).append(example)


def conversation_examples(rows: Iterable[Conversation], tokenizer: Any, max_tokens: int) -> Examples:
    """Conversations that hold an answer and fit into `max_tokens`."""
    found = Examples()
    for row in rows:
        messages = _turns(row.messages)
        problem = _problem([messages], tokenizer, max_tokens) if _answers(messages) else NO_ANSWER
        found.add(row.split, {"messages": messages}, problem)
    _tell(found, "conversations", max_tokens)
    return found


def preference_examples(rows: Iterable[Preference], tokenizer: Any, max_tokens: int) -> Examples:
    """Pairs of which both answers are there, differ, and fit into `max_tokens` with the prompt."""
    found = Examples()
    for row in rows:
        prompt, chosen, rejected = _turns(row.prompt), _turns(row.chosen), _turns(row.rejected)
        if not (prompt and _answers(chosen) and _answers(rejected)):
            problem: str | None = NO_ANSWER
        elif chosen == rejected:
            problem = "equal answers"
        else:
            problem = _problem([prompt + chosen, prompt + rejected], tokenizer, max_tokens)
        found.add(row.split, {"prompt": prompt, "chosen": chosen, "rejected": rejected}, problem)
    _tell(found, "preferences", max_tokens)
    return found


def _turns(messages: Sequence[Message]) -> Turns:
    return [{"role": m.role, "content": m.content} for m in messages]


def _answers(messages: Turns) -> bool:
    return any(m["role"] == "assistant" for m in messages)


def _problem(texts: Sequence[Turns], tokenizer: Any, max_tokens: int) -> str | None:
    render: Callable[..., list[int]] = tokenizer.apply_chat_template
    longest = max(len(render(t, tokenize=True, return_dict=False)) for t in texts)
    return TOO_LONG if longest > max_tokens else None


def _tell(found: Examples, what: str, max_tokens: int) -> None:
    kept = len(found.train) + len(found.validation)
    for reason, count in sorted(found.left_out.items()):
        limit = f" (over {max_tokens} tokens)" if reason == TOO_LONG else ""
        print(f"left out {count} of {kept + found.left_out.total()} {what}: {reason}{limit}", file=sys.stderr)
