"""`/api/v1/jobs/<id>/film` and `…/explanations/<method>`: re-encoded pixels, drawn on request."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared.db import queries
from shared.errors import InvalidRequest, NotFound
from shared.imaging import stored
from shared.imaging.heatmap import film_png, heatmap_png
from shared.wiring import Resources
from web import submit
from web.api.jobs import checked_id
from web.offload import read, run_in_thread

MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096


def create_blueprint(resources: Resources) -> Blueprint:
    """The routes over `resources`."""
    pictures = Blueprint("pictures", __name__, url_prefix="/api/v1/jobs")

    @pictures.get("/<job_id>/film")
    def get_film(job_id: str) -> Response:
        tenant, side = g.principal.tenant, _max_side()
        ref = read(resources.database, lambda sql: queries.get_blob_ref(sql, tenant, checked_id(job_id)))
        return _png(run_in_thread(lambda: film_png(stored.from_bytes(resources.blobs.get(ref)), max_side_px=side)))

    @pictures.get("/<job_id>/explanations/<method>")
    def get_explanation(job_id: str, method: str) -> Response:
        tenant, name = g.principal.tenant, method.removesuffix(".npy")
        job = submit.get_job(resources, g.principal, checked_id(job_id))
        found = read(resources.database, lambda sql: queries.find_saliency(sql, tenant, job_id, name))
        if found is None:
            raise NotFound("This job has no explanation by that method, or none yet.")
        if name != method:
            return Response(found.saliency, mimetype="application/octet-stream")
        if found.is_degenerate:
            raise NotFound("This saliency map is empty or constant: it says nothing, so no heatmap is drawn.")
        values = stored.saliency_from_bytes(found.saliency)
        return _png(heatmap_png(values, job.input.width_px, job.input.height_px))

    return pictures


def _png(data: bytes) -> Response:
    return Response(data, mimetype="image/png", headers={"Content-Security-Policy": "default-src 'none'; sandbox"})


def _max_side() -> int | None:
    given = request.args.get("max_side")
    if given is None:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(MAX_SIDE_PX))
    if not is_number or not MIN_SIDE_PX <= int(given) <= MAX_SIDE_PX:
        raise InvalidRequest(f"max_side must be a number of pixels from {MIN_SIDE_PX} to {MAX_SIDE_PX}.")
    return int(given)
