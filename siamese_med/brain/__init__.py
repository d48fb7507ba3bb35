"""Brain mask, tissues, contrast and a template of real heads: what is known of a head scan without any training."""
