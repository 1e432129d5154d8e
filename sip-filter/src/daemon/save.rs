//! Saving live changes in the policy file.

use std::{
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use super::{Daemon, start};
use crate::{
    list_files::OnDisk,
    policy::{
        Policy,
        change::ListChange,
        edit::{self, EditError},
        file,
    },
};

/// To be taken off a list, but a list file has it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{change} cannot be saved: the prefix is in {files}; remove it there and apply, or remove it without --save"
)]
pub(super) struct InListFile {
    change: ListChange,
    files: String,
}

/// The policy file with a change made, checked to be a policy still; none where the file has it already.
///
/// # Errors
///
/// Where the file cannot be read or changed, is no policy then, or would not mean what the change says.
pub(super) fn edited(path: &Path, change: &ListChange) -> anyhow::Result<Option<String>> {
    let before = start::read(path)?;
    let text = match edit::edit(&before, change) {
        Err(EditError::AlreadyThere { .. } | EditError::NotThere { .. }) => None,
        text => Some(text?),
    };
    let policy = file::parse_with(path, text.as_ref().unwrap_or(&before), &OnDisk)?;
    if !policy.agrees_with(change) {
        return Err(InListFile { change: change.clone(), files: files(&policy, change) }.into());
    }
    Ok(text)
}

/// The list files of the list that a change is about.
fn files(policy: &Policy, change: &ListChange) -> String {
    let (owner, list) = change.list.named();
    let sources = policy.sources_of(owner.as_ref(), list);
    let files = sources.into_iter().flat_map(|sources| &sources.files);
    files.map(|source| source.file.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// Replaces a file whole, or not at all, keeping its owner and permissions and following a link to it.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let before = std::fs::metadata(&path)?;
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut file = tempfile::NamedTempFile::new_in(&directory)?;
    file.write_all(text.as_bytes())?;
    fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    file.as_file().set_permissions(before.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    // The name is on the disk once its directory is, which not every file system can be told.
    if let Err(error) = std::fs::File::open(directory).and_then(|directory| directory.sync_all()) {
        tracing::warn!("{} is saved, but may be lost with the power: {error}", path.display());
    }
    Ok(())
}

impl Daemon {
    /// A change and its opposite leave nothing to save.
    pub(super) fn note_unsaved(&mut self, change: ListChange) {
        let before = self.unsaved.len();
        self.unsaved.retain(|other| (&other.list, other.prefix) != (&change.list, change.prefix));
        if self.unsaved.len() == before {
            self.unsaved.push(change);
        }
    }
}
