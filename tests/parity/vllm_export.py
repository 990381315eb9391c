"""Loads an exported folder, tokenizer included, in plain vLLM and in transformers; both continue a
problem greedily.

``python vllm_export.py FOLDER`` prints the two answers as one JSON object.
"""

import json
import sys


def main(folder: str) -> None:
    from red_mcore.rollout.environment import set_environment

    set_environment(offline=True)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from vllm import LLM, SamplingParams

    chat = [{"role": "user", "content": "9a*8b@4c-3?"}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        theirs = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[
            0, len(ids) :
        ].tolist()
    engine = LLM(
        model=folder,
        dtype="float32",
        enforce_eager=True,
        max_model_len=128,
        kv_cache_memory_bytes=64 << 20,
        disable_log_stats=True,
    )
    answer = engine.chat([chat], SamplingParams(temperature=0, max_tokens=24), use_tqdm=False)[
        0
    ].outputs[0]
    print(json.dumps({"transformers": theirs, "vllm": list(answer.token_ids), "text": answer.text}))


if __name__ == "__main__":
    main(sys.argv[1])
