"""What would another model take, and is it the better one?"""

from lib.ui.reembed.estimate import choose_model
from lib.ui.reembed.model import ReembedModel
from lib.ui.reembed.progress import show_progress
from lib.ui.shared.jobs import show_ended
from lib.ui.shared.page import REEMBED, start_page, watch_jobs
from lib.ui.shared.widgets import page_head


def body(model: ReembedModel) -> None:
    head = page_head(model.list_collections())
    if head is None:
        return
    collection, _, answer = head
    with answer:
        jobs = model.reembed_jobs(collection)
        running = [job for job in jobs if job.active]
        watch_jobs(running)
        if jobs:
            show_ended(jobs[0])
        shadow = collection.as_shadow
        if shadow is None:
            choose_model(model, collection, is_busy=bool(running))
        else:
            show_progress(model, collection, shadow, is_busy=bool(running))


start_page(REEMBED, ReembedModel, body)
