"""What the pages' words mean, a sentence each."""

WORDS = {
    "KD": "The divergence of the student from the teacher over all classes, times T².",
    "high": "Part of KD between the groups: how much mass the teacher's top k classes hold.",
    "low_top, low_other": "Parts inside the top group, and among the other classes, each weighed "
    "by its group's teacher mass in KD and by a constant in GDKD.",
    "tckd, nckd": "The same with the label alone in the first group: DKD's parts.",
    "ce": "Cross-entropy with the label.",
    "norm": "Length of a gradient in the student's logits, one a sample, T² included; by itself, "
    "or weighted as a loss weighs it where the axis says so.",
    "step": "Norm of a loss's gradient over that of the first loss, KD: what a factor on the loss "
    "would undo.",
    "cosine": "1 where two gradients point the same way, 0 across, below 0 against each other; "
    "mean over samples, or over the batch, where all samples are laid end to end.",
    "share": "A term's norm over the sum of the norms of all terms of its loss.",
    "95 % interval": "Over the samples at hand, of one training each: another seed is another "
    "training. For all pairs together: so wide that all of them hold, where two were picked as the "
    "ends.",
}
