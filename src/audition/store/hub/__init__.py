"""Model repositories on Hugging Face, or on a hub of one's own that speaks the same language (HF_ENDPOINT)."""

from audition.store.hub.headers import header_of
from audition.store.hub.lookup import look_up
from audition.store.hub.repository import RepoFile, Repository
from audition.store.hub.search import Found, search
from audition.store.hub.variants import variants_of

__all__ = ["Found", "RepoFile", "Repository", "header_of", "look_up", "search", "variants_of"]
