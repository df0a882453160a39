"""`/api/v1/jobs/<id>/film`: the stored pixels, re-encoded on request. Heatmaps are in `explanations.py`."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from shared.db import queries
from shared.errors import BlobMissing, InvalidRequest
from shared.imaging import stored
from shared.imaging.heatmap import film_png
from shared.wiring import Resources
from web.offload import draw, read
from web.parsing import UNKNOWN, checked_id, invalid

MIN_SIDE_PX, MAX_SIDE_PX = 16, 4096


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the route over `resources`."""
    films = Blueprint("films", __name__, url_prefix="/api/v1/jobs")

    @films.get("/<job_id>/film")
    def get_film(job_id: str) -> Response:
        tenant, side = g.principal.tenant, _max_side()

        def get_blob_ref() -> str:
            return read(resources.database, lambda sql: queries.get_blob_ref(sql, tenant, checked_id(job_id)))

        ref = get_blob_ref()
        try:
            return png(draw(lambda: film_png(stored.from_bytes(resources.blobs.get(ref)), max_side_px=side)))
        except BlobMissing:
            get_blob_ref()  # raises where the job was deleted meanwhile, which is no fault of the storage
            raise

    return films


def png(data: bytes) -> Response:
    """Return a PNG as a response; its policy keeps a browser from running anything in it."""
    return Response(data, mimetype="image/png", headers={"Content-Security-Policy": "default-src 'none'; sandbox"})


def _max_side() -> int | None:
    """Return the longest side in pixels that the query asks for; None where it asks for none."""
    if unknown := request.args.keys() - {"max_side"}:
        raise invalid("query", [(name, name, UNKNOWN) for name in sorted(unknown)])
    given = request.args.get("max_side")
    if given is None:
        return None
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(MAX_SIDE_PX))
    if not is_number or not MIN_SIDE_PX <= int(given) <= MAX_SIDE_PX:
        rule = f"must be a number of pixels from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
        raise InvalidRequest(f"max_side {rule}.", [("max_side", rule)])
    return int(given)
