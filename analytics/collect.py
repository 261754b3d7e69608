"""Remove what no recent manifest names: files of killed runs, and of versions nobody reads any more."""

import shutil
import time
from pathlib import Path

from analytics.manifest import LakeError, Manifest, read_version
from core.settings import Settings

KEEP_MANIFESTS = 20
KEEP_S = 24 * 3600.0


def collect(settings: Settings, *, keep_manifests: int = KEEP_MANIFESTS, keep_s: float = KEEP_S) -> int:
    """Delete files older than `keep_s` seconds that none of the last `keep_manifests` manifests names.

    Call it while holding the lake's lock. Returns how many data files went. Raises LakeError when a manifest that
    says what to keep cannot be read, and then deletes nothing.
    """
    lake_dir = settings.lake_dir
    oldest = time.time() - keep_s
    manifests = sorted((lake_dir / "manifest").glob("*.json"))
    kept = [_read(settings, path) for path in manifests[-keep_manifests:]]
    if not kept:
        return 0
    named = {file.path for manifest in kept for table in manifest.tables for file in manifest.files(table)}
    removed = 0
    for path in sorted((lake_dir / "data").rglob("*.parquet")):
        if str(path.relative_to(lake_dir)) not in named and path.stat().st_mtime < oldest:
            path.unlink()
            removed += 1
    for path in [*manifests[:-keep_manifests], *(lake_dir / "manifest").glob("*.tmp")]:
        if path.stat().st_mtime < oldest:
            path.unlink()
    for path in (lake_dir / "tmp").glob("*"):
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path)
    return removed


def _read(settings: Settings, path: Path) -> Manifest:
    try:
        return read_version(settings, int(path.stem))
    except ValueError as broken:
        raise LakeError(f"the manifest {path.name} cannot be read; nothing was collected") from broken
