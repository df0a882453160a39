"""`/api/v1/jobs/<id>/film`: the stored pixels, re-encoded on request. Heatmaps are in `explanations.py`."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared.db import queries
from shared.errors import BlobMissing, InvalidRequest
from shared.imaging import stored
from shared.imaging.heatmap import film_png
from shared.wiring import Resources
from web.offload import draw, read
from web.parsing import checked_id

MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096


def create_blueprint(resources: Resources) -> Blueprint:
    """The routes over `resources`."""
    pictures = Blueprint("pictures", __name__, url_prefix="/api/v1/jobs")

    @pictures.get("/<job_id>/film")
    def get_film(job_id: str) -> Response:
        tenant, side = g.principal.tenant, _max_side()

        def find() -> str:
            return read(resources.database, lambda sql: queries.get_blob_ref(sql, tenant, checked_id(job_id)))

        ref = find()
        try:
            return png(draw(lambda: film_png(stored.from_bytes(resources.blobs.get(ref)), max_side_px=side)))
        except BlobMissing:
            find()  # its job may have been deleted meanwhile, which is no fault
            raise

    return pictures


def png(data: bytes) -> Response:
    """A picture that a browser shows and runs nothing of."""
    return Response(data, mimetype="image/png", headers={"Content-Security-Policy": "default-src 'none'; sandbox"})


def _max_side() -> int | None:
    given = request.args.get("max_side")
    if given is None:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(MAX_SIDE_PX))
    if not is_number or not MIN_SIDE_PX <= int(given) <= MAX_SIDE_PX:
        told = f"must be a number of pixels from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
        raise InvalidRequest(f"max_side {told}.", [("max_side", told)])
    return int(given)
