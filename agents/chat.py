"""How a chat becomes a model's tokens: the same when it speaks as when it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jinja2 import TemplateError

from agents.errors import BadInput
from agents.language_model import Message

# What some templates take: Llama 3's would print today's date, and Qwen 3's would start with a train of thought,
# so that equal runs differed and a forced start stood in the wrong place.
SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}

PLAIN = (Message("user", "May I?"), Message("assistant", "Yes."), Message("user", "Why?"))
SYSTEM = Message("system", "Answer in verse.")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The chat template of `tokenizer`. Where it `folds`, system texts go to the head of the first user turn."""

    tokenizer: Any
    folds: bool

    @classmethod
    def of(cls, tokenizer: Any, name: str) -> ChatTemplate:
        """The template of the model `name`, tried on two chats: it folds where the system turn is refused or lost.

        Raises BadInput where there is no template, or it can't render user, assistant, user.
        """
        if not tokenizer.chat_template:
            raise BadInput(f"model {name!r}: its tokenizer has no chat template; choose an instruct model")
        plain = cls(tokenizer, folds=False)
        try:
            plain.text(PLAIN)
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                f"model {name!r}: its chat template can't render a plain chat ({reason}); choose an instruct model"
            ) from error
        try:
            takes_system = SYSTEM.content in plain.text((SYSTEM, *PLAIN))
        except TemplateError:
            takes_system = False
        return plain if takes_system else cls(tokenizer, folds=True)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The chat as tokens, up to where the reply begins; raises jinja2.TemplateError where it is refused."""
        return list(self._applied(messages, add_generation_prompt=True, return_dict=False))

    def text(self, messages: Sequence[Message]) -> str:
        """The chat as text, up to the end of its last turn; raises jinja2.TemplateError where it is refused."""
        return str(self._applied(messages, tokenize=False))

    def _applied(self, messages: Sequence[Message], **form: Any) -> Any:
        turns = folded(messages) if self.folds else messages
        return self.tokenizer.apply_chat_template([asdict(turn) for turn in turns], **form, **SETTINGS)


def folded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` without system turns; their texts stand above the first user turn, or are one where there is none."""
    system = [message.content for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    if not system:
        return tuple(others)
    first = next((place for place, message in enumerate(others) if message.role == "user"), None)
    if first is None:
        return (Message("user", "\n\n".join(system)), *others)
    asked = Message("user", "\n\n".join([*system, others[first].content]))
    return (*others[:first], asked, *others[first + 1 :])
