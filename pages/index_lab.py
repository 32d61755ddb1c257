"""Which index, which settings?"""

from typing import assert_never

from lib.ui.lab.candidates_on_disk import show_candidates_on_disk
from lib.ui.lab.controls import experiment_controls
from lib.ui.lab.experiments import experiment_picker, show_experiments
from lib.ui.lab.model import LabModel
from lib.ui.lab.parts import Part, can_measure, part_picker
from lib.ui.lab.progress import show_last_build, show_running_jobs
from lib.ui.lab.results import show_results
from lib.ui.lab.setup import show_new_experiment
from lib.ui.shared.page import INDEX_LAB, start_page
from lib.ui.shared.widgets import page_head


def body(model: LabModel) -> None:
    head = page_head(model.list_collections())
    if head is None:
        return
    collection, settings, answer = head
    lab = model.open_collection(collection)
    with answer:
        show_running_jobs(lab)
        show_last_build(lab)
        is_enough = can_measure(lab.summary)
        part = part_picker(lab)
    match part:
        case Part.RESULTS:
            with settings:
                experiment_id = experiment_picker(lab.experiments)
            with answer:
                show_results(lab, experiment_id)
        case Part.NEW:
            if is_enough:
                with settings:
                    draft = experiment_controls(lab)
                with answer:
                    show_new_experiment(lab, draft)
        case Part.ALL:
            with answer:
                show_experiments(lab)
        case Part.DISK:
            with answer:
                show_candidates_on_disk(lab)
        case _:
            assert_never(part)


start_page(INDEX_LAB, LabModel, body)
