//! The 24 recovery words of a vault: where they come from and where they go.

use std::fs;
use std::io::Write;
use std::path::Path;

use privstack_sync::error::Result;
use privstack_sync::platform::entropy;
use privstack_sync::policy::recovery_words;
use zeroize::Zeroizing;

use crate::files::{file_error, open_new};

/// New words, from the system's randomness.
pub fn new_words() -> Result<Zeroizing<String>> {
    Ok(recovery_words(&entropy::bytes()?))
}

/// Writes words into a new file that only its owner may read; refuses a file that exists.
pub fn write_words(path: &Path, words: &str) -> Result<()> {
    let mut file = open_new(path, true).map_err(|error| file_error(path, "made for the recovery words", &error))?;
    let written = file.write_all(words.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        file_error(path, "written", &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use privstack_sync::error::ErrorCode;

    #[test]
    fn a_recovery_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words");
        write_words(&path, "one two").unwrap();
        assert_eq!(write_words(&path, "three").unwrap_err().code(), ErrorCode::Invalid);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one two\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
