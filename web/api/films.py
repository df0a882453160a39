"""`/api/v1/jobs/<id>/film`: the stored pixels, re-encoded on request. Heatmaps are in `explanations.py`."""

from __future__ import annotations

from flask import Blueprint, Response, g

from shared import wire
from shared.db import queries
from shared.errors import BlobMissing
from shared.imaging import stored
from shared.imaging.heatmap import film_png
from shared.wiring import Resources
from web.offload import draw, read
from web.parsing import checked_id, parse_query


def create_blueprint(resources: Resources) -> Blueprint:
    """Return the route over `resources`."""
    films = Blueprint("films", __name__, url_prefix="/api/v1/jobs")

    @films.get("/<job_id>/film")
    def get_film(job_id: str) -> Response:
        tenant, side = g.principal.tenant, parse_query(wire.FilmSizeQuery).max_side

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
