"""The shape of the small model that tests check recipes with."""

QWEN2 = {
    "model_type": "qwen2",
    "vocab_size": 513,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
}
