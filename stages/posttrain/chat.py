"""How a conversation becomes tokens: a chat template that says which of them the assistant wrote.

`{% generation %}` marks what is trained on. The token that ends a turn stands inside the mark: a model that is not
trained to end its turn never stops. Given up: tools, images, and text that spells a special token, which becomes one.
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from schemas.table import ContractError

ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>")
END_TOKEN = "<|end|>"  # noqa: S105 - a word of the vocabulary

# One turn: <|user|>text<|end|>, no white space between.
MARKED_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|assistant|>' -}}{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- ('<|system|>' if message['role'] == 'system' else '<|user|>') + message['content'] + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

# For a vocabulary without these words: roles as plain text, the tokenizer's own end token after an answer.
TEXT_TEMPLATE = """\
{%- for message in messages -%}
{{- message['role'] | capitalize + ':\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + END -}}{%- endgeneration -%}{{- '\\n' -}}
{%- else -%}
{{- message['content'] + '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:\\n' -}}{%- endif -%}
"""


def chat_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer with a chat template; one that has a template with generation marks keeps it.

    No token is added, so the embedding keeps its size. Raises `ContractError` where no token can end a turn.
    """
    if (folder / "tokenizer.json").is_file():  # as it stands: a model's own tokenizer class may rebuild it otherwise
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for where in ("is_local", "local_files_only"):  # of this load; they would be saved with the tokenizer
        tokenizer.init_kwargs.pop(where, None)
    if tokenizer.eos_token is None and "<|endoftext|>" in tokenizer.get_vocab():
        tokenizer.eos_token = "<|endoftext|>"  # noqa: S105
    if "{% generation" not in (tokenizer.chat_template or "").replace("{%-", "{%"):
        tokenizer.chat_template = _template(tokenizer, folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or END_TOKEN
    return tokenizer


def _template(tokenizer: Any, folder: Path) -> str:
    if {*ROLE_TOKENS, END_TOKEN} <= set(tokenizer.get_vocab()):
        return MARKED_TEMPLATE
    if tokenizer.eos_token is None:
        raise ContractError(str(folder), [f"the tokenizer has neither {END_TOKEN} nor an end-of-sequence token"])
    return TEXT_TEMPLATE.replace("END", repr(tokenizer.eos_token))


def generation_config(base: Path, tokenizer: Any) -> GenerationConfig:
    """The base model's, told to stop at the end of a turn as well as at the end of a text."""
    file = base / "generation_config.json"
    config = GenerationConfig.from_pretrained(base) if file.is_file() else GenerationConfig()
    turn = [tokenizer.convert_tokens_to_ids(END_TOKEN)] if END_TOKEN in tokenizer.get_vocab() else []
    text = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    config.eos_token_id = list(dict.fromkeys(turn + text))
    config.bos_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    return config
