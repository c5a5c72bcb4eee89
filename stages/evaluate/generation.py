"""A few answers in the model's own words: greedy generation, for people to read.

A model with a chat template gets the question as a user's turn; another gets the text before the blank to go on from.
A prompt longer than the context loses its beginning.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from schemas.evaluation import Question, Sample
from stages.evaluate.tasks import ANSWERS, split_at_blank


def answers(model: Any, tokenizer: Any, questions: Sequence[Question], max_tokens: int, name: str) -> Iterator[Sample]:
    """Answer `questions`; `choices` has the answer given, `responses` its log-likelihood."""
    for index, question in enumerate(questions):
        prompt, ids = encode_prompt(tokenizer, question.question)
        answer, log_likelihood, num_tokens = generate(model, tokenizer, ids, max_tokens)
        target = question.choices[question.answer]
        metrics = {"doc_id": question.doc_id, "num_tokens": num_tokens, "row_id": question.row_id}
        yield Sample(
            model=name,
            task=ANSWERS,
            sample_id=index,
            prompt=prompt,
            target=target,
            choices=[answer],
            responses=[log_likelihood],
            metrics=json.dumps({"has_target": int(target in answer), **metrics}, sort_keys=True),
        )


def encode_prompt(tokenizer: Any, question: str) -> tuple[str, list[int]]:
    """The prompt's text and its token ids, at least one."""
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    else:
        prompt = split_at_blank(question)[0].rstrip()
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    return prompt, ids or [tokenizer.eos_token_id]


def generate(model: Any, tokenizer: Any, ids: list[int], max_tokens: int) -> tuple[str, float, int]:
    """The most likely next tokens one by one, until an end token: text, log-likelihood in nats, number of tokens."""
    from transformers import GenerationConfig

    context = model.config.max_position_embeddings
    max_tokens = min(max_tokens, context - 1)
    ids_BT = torch.tensor([ids[-(context - max_tokens) :]], device=model.device)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with torch.inference_mode():
        out = model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=config)
    new_T = out.sequences[0, ids_BT.shape[1] :]
    log_probs_TV = torch.log_softmax(torch.cat(out.logits).float(), dim=-1)
    log_likelihood = log_probs_TV.gather(1, new_T[:, None]).double().sum()
    return tokenizer.decode(new_T, skip_special_tokens=True).strip(), float(log_likelihood), len(new_T)
