"""What is shown of region logits: their anatomy, ambiguity, cancellation and uptake."""

from kdanalysis.analyzers.regions import ambiguity_figure as ambiguity
from kdanalysis.analyzers.regions import anatomy_figure as anatomy
from kdanalysis.analyzers.regions import anatomy_text
from kdanalysis.analyzers.regions import cancellation_figure as cancellation
from kdanalysis.analyzers.regions import uptake_figure as uptake
from kdanalysis.analyzers.regions import uptake_runs_figure as uptake_runs
from kdanalysis.pages.noun import Joint, Noun

REGION_NOUNS = {
    "anatomy": Noun(
        "Anatomy of the regions",
        (
            (
                "Pairs of image and cell, their loss and gradient, by case; G and L are the "
                "teacher's class of the image and of the cell, T right and W wrong",
                anatomy.anatomy_by_scale,
            ),
            ("Complementary cells, and the gradient norm, by cell", anatomy.anatomy_of_cells),
        ),
        anatomy_text.anatomy_sentence,
        anatomy_text.anatomy_number,
        excerpt=anatomy.scale_means,
    ),
    "ambiguity": Noun(
        "Ambiguity of the images",
        (
            (
                "Cells that differ from the image, and how many classes an image's cells name",
                ambiguity.ambiguity_by_class,
            ),
        ),
        ambiguity.ambiguity_sentence,
        ambiguity.ambiguity_number,
        excerpt=lambda table: table[table.part == "teacher"].drop(columns=["part", "class"]),
    ),
    "cancellation": Noun(
        "Cancellation of the cells' gradients",
        (
            (
                "Norm of the cells' mean gradient over their mean norm, by ambiguity of the image",
                cancellation.cancellation_by_ambiguity,
            ),
        ),
        cancellation.cancellation_sentence,
        cancellation.cancellation_number,
    ),
    "uptake": Noun(
        "Uptake of the cells' classes",
        (("Cells in which the student names its teacher's class", uptake.uptake_by_case),),
        uptake.uptake_sentence,
        uptake.uptake_number,
        Joint(
            (
                (
                    "Cells in which each student names its teacher's class",
                    uptake_runs.uptake_of_runs,
                ),
            ),
            uptake_runs.uptake_runs_sentence,
            uptake_runs.uptake_runs_number,
        ),
        excerpt=lambda table: table[table.epoch == table.epoch.max()],
    ),
}
