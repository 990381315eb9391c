"""Problems, teacher traces, the small tokenizer, and resumable cursors over them."""
