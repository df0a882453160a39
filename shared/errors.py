"""Every error plainfilm raises on purpose, in one tree.

    AppError(detail, **facts)            code, status, retryable are of the class
    ├── RefusedUpload                    the film itself is the problem: 4xx, never retried
    │   ├── Malformed            400     the request around the film is broken
    │   ├── TooLarge             413
    │   ├── UnsupportedFormat    415
    │   ├── DigestMismatch       422     not the bytes that the client sent
    │   ├── UnreadableImage      422
    │   ├── TooManyPixels        422
    │   ├── NotFrontalFilm       422     by what a DICOM says of itself
    │   └── DecodeLimit          422     the decoder hit its time or memory limit
    ├── InvalidRequest           400     a query parameter or identifier is wrong
    ├── NotAllowed               401 · Forbidden 403
    ├── NotFound                 404     JobNotFound · JobDeleted (410) · BatchNotFound · BlobMissing (500: ours)
    │                                        WebhookNotFound · DeliveryNotFound
    ├── Conflict                 409     IllegalTransition · LeaseLost · NotExplainable · IdempotencyMismatch (422)
    │                                        WebhooksOff
    ├── ModelProblem             500     ManifestMismatch · BadChecksum · WrongShape · ModelReplaced · GoldenMismatch
    ├── DataProblem              422     a manifest or folder of films that cannot be trained on
    ├── TooSlow                  408     the body did not come in time
    ├── TenantQueueFull          429     this tenant has too many films or heatmaps waiting
    ├── TenantWaitersFull        429     this tenant has too many requests waiting for answers
    └── Unavailable              503     DatabaseDown · QueueDown · QueueFull · DecoderBusy · StorageDown
                                             UploadsFull · WaitersFull · StorageFull (507)

`detail` is for the user: it names no path, no SQL, no patient. `facts` go to the log and the terminal only.
`retry_after_s` is for the client's `Retry-After`, where it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar


class AppError(Exception):
    """An internal error of the service; the response names the entry in the service's log.

    Base of all expected failures: `str(error)` is the safe sentence for the user.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, retry_after_s: int | None = None, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.facts = facts


class RefusedUpload(AppError):
    """The upload is refused as it is; sending it again changes nothing."""

    code = "refused_upload"
    status = 422
    title = "The upload was refused"


class Malformed(RefusedUpload):
    """The request does not carry exactly one film in a form we accept."""

    code = "malformed_request"
    status = 400
    title = "The request is malformed"


class TooLarge(RefusedUpload):
    """The body has more bytes than the limit."""

    code = "too_large"
    status = 413
    title = "The request is too large"


class UnsupportedFormat(RefusedUpload):
    """The content is not one of the formats we read."""

    code = "unsupported_format"
    status = 415
    title = "The format is not supported"


class DigestMismatch(RefusedUpload):
    """The received bytes do not match the digest that the client sent."""

    code = "digest_mismatch"
    title = "The upload does not match its digest"


class UnreadableImage(RefusedUpload):
    """The content claims a format we read but cannot be decoded in full."""

    code = "unreadable_image"
    title = "The image cannot be read"


class TooManyPixels(RefusedUpload):
    """The image's size or shape is outside the limits."""

    code = "too_many_pixels"
    title = "The image's dimensions are outside the limits"


class NotFrontalFilm(RefusedUpload):
    """According to its own header, the DICOM image is not a frontal plain film: wrong modality or wrong view."""

    code = "not_a_frontal_film"
    title = "The image is not a frontal plain film"


class DecodeLimit(RefusedUpload):
    """The decoder ran out of its time or memory allowance on this film."""

    code = "decode_limit"
    title = "The image could not be decoded within the limits"


class InvalidRequest(AppError):
    """A query parameter, identifier or header is not of the expected form."""

    code = "invalid_request"
    status = 400
    title = "The request is invalid"

    def __init__(self, detail: str, fields: Sequence[tuple[str, str]] = (), **facts: object) -> None:
        super().__init__(detail, None, **facts)
        self.fields = fields  # the invalid fields: (pointer, detail) as in `wire.FieldError`


class NotAllowed(AppError):
    """No valid key or session came with the request."""

    code = "unauthorized"
    status = 401
    title = "A key is needed"


class Forbidden(NotAllowed):
    """The key is valid but may not do this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(AppError):
    """There is nothing here for this caller."""

    code = "not_found"
    status = 404
    title = "Not found"


class JobNotFound(NotFound):
    """No such job in this tenant; the id of another tenant's job gets the same answer."""

    code = "job_not_found"
    title = "No such job"


class JobDeleted(JobNotFound):
    """The job existed; film, result and heatmaps were deleted, on request or at the end of their retention period."""

    code = "job_deleted"
    status = 410
    title = "The job was deleted"


class BatchNotFound(NotFound):
    """No such batch in this tenant; the id of another tenant's batch gets the same answer."""

    code = "batch_not_found"
    title = "No such batch"


class WebhookNotFound(NotFound):
    """No such webhook in this tenant; the id of another tenant's webhook gets the same answer."""

    code = "webhook_not_found"
    title = "No such webhook"


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery, or the delivery has been removed."""

    code = "delivery_not_found"
    title = "No such delivery"


class BlobMissing(NotFound):
    """A stored film that a job refers to is missing or damaged."""

    code = "blob_missing"
    status = 500
    title = "The stored film is missing or damaged"


class Conflict(AppError):
    """The request conflicts with the current state."""

    code = "conflict"
    status = 409
    title = "Conflict with the current state"


class IllegalTransition(Conflict):
    """The job's current state does not allow this change."""

    code = "illegal_transition"
    title = "The job's state does not allow this"


class IdempotencyMismatch(Conflict):
    """The key was used before for something else: another film, another batch, or classifying again."""

    code = "idempotency_mismatch"
    status = 422
    title = "The idempotency key was used for something else"


class LeaseLost(Conflict):
    """Another attempt owns the job now; this one's result is not written."""

    code = "lease_lost"
    title = "The lease on the job was lost"


class NotExplainable(Conflict):
    """The job has no result that could be explained."""

    code = "not_explainable"
    title = "There is no result to explain"


class WebhooksOff(Conflict):
    """The service's operator has not switched webhooks on, so nothing would be sent."""

    code = "webhooks_off"
    title = "Webhooks are off"


class ModelProblem(AppError):
    """The model cannot be used as it is; retrying does not help."""

    code = "model_problem"
    title = "The model cannot be used"


class ManifestMismatch(ModelProblem):
    """The manifest is incomplete or does not fit the weights."""

    code = "manifest_mismatch"


class BadChecksum(ModelProblem):
    """The weights' SHA-256 is not the manifest's."""

    code = "bad_checksum"


class WrongShape(ModelProblem):
    """An array does not have the promised shape or type."""

    code = "wrong_shape"


class ModelReplaced(ModelProblem):
    """The film was classified by a different model from the one that is loaded now."""

    code = "model_replaced"
    title = "The model has been replaced since"


class GoldenMismatch(ModelProblem):
    """The model's answers to the golden films differ from those recorded when it was made."""

    code = "golden_mismatch"


class DataProblem(AppError):
    """A manifest or folder of films cannot be used; names file and line."""

    code = "data_problem"
    status = 422
    title = "The data set cannot be used"


class Unavailable(AppError):
    """A component that the service needs is temporarily unavailable; the same request may succeed later."""

    code = "unavailable"
    status = 503
    retryable = True
    title = "Temporarily unavailable"


class DatabaseDown(Unavailable):
    """The database does not answer."""

    code = "database_down"


class QueueDown(Unavailable):
    """The broker does not answer."""

    code = "queue_down"


class StorageDown(Unavailable):
    """The blob store cannot be read or written, or does not belong to this database."""

    code = "storage_down"


class StorageFull(Unavailable):
    """There is no room left for films or rows; what was accepted before is kept."""

    code = "storage_full"
    status = 507
    title = "The service's disk is full"


class DecoderBusy(Unavailable):
    """More films are being sent at once than can be decoded, or the decoder had to be restarted."""

    code = "decoder_busy"


class QueueFull(Unavailable):
    """The service's limit on waiting films has been reached."""

    code = "queue_full"
    title = "Too many films are waiting"


class UploadsFull(Unavailable):
    """The process's limit on bytes of simultaneous uploads has been reached."""

    code = "uploads_full"
    title = "Too many uploads are coming in"


class WaitersFull(Unavailable):
    """The process's limit on requests that wait or follow events has been reached; poll without waiting."""

    code = "waiters_full"
    title = "Too many requests are waiting"


class TooSlow(AppError):
    """The body of the request did not arrive in time."""

    code = "too_slow"
    status = 408
    title = "The upload was too slow"


class TenantQueueFull(AppError):
    """This tenant's limit on waiting films or heatmaps has been reached."""

    code = "tenant_queue_full"
    status = 429
    retryable = True
    title = "Too many of your films or heatmaps are waiting"


class TenantWaitersFull(AppError):
    """This tenant's limit on requests that wait or follow events has been reached; poll without waiting."""

    code = "tenant_waiters_full"
    status = 429
    retryable = True
    title = "Too many of your requests are waiting"


def explain(error: AppError) -> str:
    """Return the error's sentence and, for the operator, its fact `why`, which no client is shown."""
    why = error.facts.get("why")
    return f"{error.detail} ({why})" if why else error.detail


def all_errors(base: type[AppError] = AppError) -> Iterator[type[AppError]]:
    """Yield `base` and every class below it, parents first."""
    yield base
    for child in base.__subclasses__():
        yield from all_errors(child)
