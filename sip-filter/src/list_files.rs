//! List files on the disk.
//!
//! Only finds and reads them; what they say is for the policy to judge.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc::O_NONBLOCK;

use crate::policy::list_file::{LIST_BYTES_MAX, ListFileError, ListFiles};

/// Reads regular files, and follows links to them.
#[derive(Debug, Clone, Copy)]
pub struct OnDisk;

impl ListFiles for OnDisk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, ListFileError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ListFileError::Missing { path: path.to_owned() },
            _ => ListFileError::Unreadable { path: path.to_owned(), source },
        };
        // To open a device can do something already; a FIFO would wait for its writer.
        if !fs::metadata(path).map_err(refused)?.is_file() {
            return Err(ListFileError::NotRegular { path: path.to_owned() });
        }
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).map_err(refused)?;
        let metadata = file.metadata().map_err(refused)?;
        if !metadata.is_file() {
            return Err(ListFileError::NotRegular { path: path.to_owned() });
        }
        if metadata.len() > LIST_BYTES_MAX {
            return Err(ListFileError::TooLarge { path: path.to_owned() });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        // It may grow while it is read.
        file.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(refused)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= LIST_BYTES_MAX => Ok(Some(bytes)),
            _ => Err(ListFileError::TooLarge { path: path.to_owned() }),
        }
    }
}
