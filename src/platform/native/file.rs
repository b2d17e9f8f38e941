//! Small files that are written once, whole, and never over another.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// What went wrong with which file.
pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::storage(format!("{what} {} failed: {error}", path.display()))
}

/// Reads a file of at most `limit` bytes (one more is read of a longer one); `None` if there is none.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<(Vec<u8>, fs::Metadata)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening", path, &error)),
    };
    let mut bytes = Vec::new();
    let metadata = file.metadata().map_err(|error| failed("reading", path, &error))?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| failed("reading", path, &error))?;
    Ok(Some((bytes, metadata)))
}

/// Writes a new file of mode 0600 that is there whole or not at all, also after a power cut. A file that has the name
/// already is an error and stays as it is. Only for whoever holds the folder's lock: nobody else makes files in it.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    // Left over from a crash; nobody ever used it.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("removing", &new, &error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: File| file.write_all(bytes).and_then(|()| file.sync_all());
    options.open(&new).and_then(write).map_err(|error| failed("writing", &new, &error))?;
    // A rename would replace it.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("looking at", path, &error)),
        Ok(_) => return Err(failed("creating", path, &ErrorKind::AlreadyExists.into())),
    }
    fs::rename(&new, path).map_err(|error| failed("writing", path, &error))?;
    sync_folder(folder)
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed("syncing", folder, &error))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
