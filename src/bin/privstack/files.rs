//! Files of the user: read within bounds, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use privstack_sync::error::{Error, ErrorCode, Result};

/// An error about a file, with its name.
pub fn file_error(path: &Path, what: &str, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::NotFound => ErrorCode::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::Quota,
        io::ErrorKind::AlreadyExists | io::ErrorKind::InvalidInput => ErrorCode::Invalid,
        _ => ErrorCode::Storage,
    };
    Error::new(code, format!("{}: cannot be {what}: {error}", path.display()))
}

/// A whole file of at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let read = |error| file_error(path, "read", &error);
    let file = File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large, also one without a known length.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > limit {
        return Err(Error::too_large(format!("{}: is over the limit of {limit} bytes", path.display())));
    }
    Ok(bytes)
}

/// A file that appears under its name only once it is complete and on disk; dropped before, it leaves nothing.
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file beside `path`; only its owner may read it where `private`.
    pub fn create(path: &Path, private: bool) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| Error::invalid(format!("{}: is not a file", path.display())))?;
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary_name);
        // What a killed process with the same number left behind.
        let _ = fs::remove_file(&temporary);
        let file = open_new(&temporary, private).map_err(|error| file_error(path, "made", &error))?;
        Ok(Self { path: path.to_owned(), temporary, file: Some(BufWriter::with_capacity(1 << 16, file)) })
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|error| file_error(&self.path, "written", &error)),
            None => Err(Error::storage(format!("{}: is closed", self.path.display()))),
        }
    }

    /// Puts it on disk under its name, over what stood there.
    pub fn commit(mut self) -> Result<()> {
        let written = |error: io::Error| file_error(&self.path, "written", &error);
        if let Some(file) = self.file.take() {
            file.into_inner().map_err(|error| written(error.into_error()))?.sync_all().map_err(written)?;
        }
        fs::rename(&self.temporary, &self.path).map_err(written)?;
        // The name is on disk once its folder is; not every system can sync a folder, and the content is safe already.
        if let Some(Ok(folder)) = self.path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        self.temporary = PathBuf::new();
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a file that must not be there yet.
pub fn open_new(path: &Path, private: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if private {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = private;
    options.open(path)
}
