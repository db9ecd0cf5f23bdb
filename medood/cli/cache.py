"""`cache list`, `clear` and `limit`."""

from __future__ import annotations

from typing import Annotated

import typer

from medood.cli.options import Cache

caches = typer.Typer(help="Look at the cache of prepared images and features, and keep it small.", no_args_is_help=True)


@caches.command("list")
def list_cache(cache: Cache = None) -> None:
    """Print what the cache holds: source and transforms, how many series or images, their size, and when they were last used."""
    from medood.tasks.images.cache import list_cache as show

    show(cache)


@caches.command("clear")
def clear_cache(
    older: Annotated[str | None, typer.Option(metavar="TIME", help="Only what was not used for so long: 12h, 30d, 8w.")] = None,
    cache: Cache = None,
) -> None:
    """Remove prepared images and features; what a running medood uses stays. They are made again when they are needed."""
    from medood.tasks.images.cache import clear_cache as remove
    from medood.tasks.images.cache import spoken

    gone, kept = remove(cache, older)
    typer.echo(f"Removed {spoken(sum(shelf.bytes for shelf in gone))}." + (f" {len(kept)} folders are in use and stay." if kept else ""))


@caches.command("limit")
def limit_cache(
    size: Annotated[
        str | None, typer.Argument(help="20GB, say, or none. Without it, only what is beyond the limit goes.", show_default=False)
    ] = None,
    cache: Cache = None,
) -> None:
    """Set how large the cache may become, and remove what was used longest ago until it is no larger.

    The limit is remembered for this user, and kept to before every training. What is in use stays, so that one training may go beyond it.
    """
    from medood.tasks.images.cache import limit_cache as limit
    from medood.tasks.images.cache import spoken

    typer.echo(f"Removed {spoken(sum(shelf.bytes for shelf in limit(cache, size)))}.")
