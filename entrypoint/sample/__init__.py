"""The bundled sample: real photographs with free licences, in the shape of the real datasets."""

from entrypoint.sample.album import ALBUM, Photo

PHOTOS: tuple[Photo, ...] = ALBUM.photos
# What every photograph is asked in stage 3, to be answered with its caption.
CAPTION_PROMPT: str = ALBUM.caption_prompt

__all__ = ["CAPTION_PROMPT", "PHOTOS", "Photo"]
