"""What stands on the pages: from logits and runs to tables, sentences, figures and sections."""
