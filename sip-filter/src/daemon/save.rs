//! Saving live changes in the policy file.

use std::{
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use super::start;
use crate::policy::{
    change::ListChange,
    edit::{self, EditError},
    file,
};

/// The policy file with a change made, checked to be a policy still; none where the file has it already.
pub(super) fn edited(path: &Path, change: &ListChange) -> anyhow::Result<Option<String>> {
    let text = match edit::edit(&start::read(path)?, change) {
        Err(EditError::AlreadyThere { .. } | EditError::NotThere { .. }) => return Ok(None),
        text => text?,
    };
    file::parse(path, &text)?;
    Ok(Some(text))
}

/// Replaces a file whole, or not at all, keeping its owner and permissions and following a link to it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let before = std::fs::metadata(&path)?;
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    file.as_file().set_permissions(before.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}
