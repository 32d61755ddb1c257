"""What will be stored, and what could not be?"""

from lib.ui.shared.page import UPLOAD, start_page, watch_jobs
from lib.ui.shared.widgets import page_head
from lib.ui.upload.batch import show_batch
from lib.ui.upload.controls import load_controls, part_controls, show_target
from lib.ui.upload.drop_zone import drop_zone
from lib.ui.upload.loads import show_last_load, show_missing, show_running_loads
from lib.ui.upload.model import UploadModel
from lib.ui.upload.preview import forget_other_files


def body(model: UploadModel) -> None:
    head = page_head(model.list_collections())
    if head is None:
        return
    collection, settings, answer = head
    summary = model.summary(collection)
    with settings:
        show_target(summary)
        read_options = part_controls(collection, model.max_tokens(collection))
        load_options = load_controls(summary)
    with answer:
        jobs = model.recent_jobs(collection)
        running = [job for job in jobs if job.active]
        watch_jobs(running, show_running_loads)
        files = drop_zone(collection.name)
        forget_other_files(files)
        if files:
            show_batch(model, collection, files, read_options, load_options, is_busy=bool(running))
        elif not running:
            show_last_load(model, summary, jobs)
            show_missing(model, summary)


start_page(UPLOAD, UploadModel, body)
