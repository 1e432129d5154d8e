//! A live change written into the text of the policy file, with its comments and layout kept.
//!
//! Changes text only: that the change makes sense is for [`Policy::change`](super::Policy::change) to say, and the file is written elsewhere.

use ipnet::IpNet;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use super::change::{Action, List, ListChange};
use super::prefix::{canonical, parse_prefix};

/// The indentation of an entry where the file shows none to follow.
const INDENT: &str = "    ";

/// The text of the file with this change made.
///
/// # Errors
///
/// An [`EditError`] when the text is no policy file, or the file says so already.
pub fn edit(text: &str, change: &ListChange) -> Result<String, EditError> {
    // What the reader says would show the line, and any password in it.
    let mut document: DocumentMut = text.parse().map_err(|_: toml_edit::TomlError| EditError::Syntax)?;
    let root = document.as_table_mut();
    let changed = match &change.list {
        List::Deny => change_sources(root, "deny", change),
        List::Allow => change_sources(root, "allow", change),
        List::Trunk(name) => {
            let trunk =
                trunk_table(root, name).ok_or_else(|| EditError::UnknownTrunk { name: name.clone() })?;
            change_entries(trunk, "allow", change)
        }
    };
    changed.map(|()| document.to_string())
}

/// Why the text of the file cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text is no TOML.
    #[error("the file is not valid; `check` says where")]
    Syntax,
    /// A key has another type than it must have.
    #[error("`{key}` in the file is not what it should be; `check` says why")]
    Shape {
        /// The key.
        key: &'static str,
    },
    /// The file has no trunk of this name.
    #[error("the file has no trunk \"{name}\"; add a [[trunk]] of this name to it")]
    UnknownTrunk {
        /// The name that was given.
        name: String,
    },
    /// To be added, but the file names it already.
    #[error("the file already has {prefix} on {list}")]
    AlreadyThere {
        /// Where.
        list: List,
        /// What.
        prefix: IpNet,
    },
    /// To be removed, but the file does not name it.
    #[error("the file does not have {prefix} on {list}")]
    NotThere {
        /// Where.
        list: List,
        /// What.
        prefix: IpNet,
    },
}

fn change_sources(root: &mut dyn TableLike, key: &'static str, change: &ListChange) -> Result<(), EditError> {
    if change.action == Action::Add && !root.contains_key(key) {
        let mut table = toml_edit::Table::new();
        table.decor_mut().set_prefix("\n");
        root.insert(key, Item::Table(table));
    }
    match root.get_mut(key) {
        Some(item) => {
            change_entries(item.as_table_like_mut().ok_or(EditError::Shape { key })?, "sources", change)
        }
        None => Err(not_there(change)),
    }
}

fn trunk_table<'a>(root: &'a mut dyn TableLike, name: &str) -> Option<&'a mut dyn TableLike> {
    match root.get_mut("trunk")? {
        Item::ArrayOfTables(tables) => {
            let tables = tables.iter_mut().map(|table| table as &mut dyn TableLike);
            tables.into_iter().find(|table| is_named(*table, name))
        }
        // The same, written as `trunk = [{ name = "…" }]`.
        Item::Value(Value::Array(tables)) => {
            let tables = tables.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.map(|table| table as &mut dyn TableLike).find(|table| is_named(*table, name))
        }
        _ => None,
    }
}

fn is_named(table: &dyn TableLike, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

fn change_entries(
    table: &mut dyn TableLike,
    key: &'static str,
    change: &ListChange,
) -> Result<(), EditError> {
    if change.action == Action::Add && !table.contains_key(key) {
        table.insert(key, Item::Value(Value::Array(Array::new())));
    }
    let Some(item) = table.get_mut(key) else {
        return Err(not_there(change));
    };
    let entries = item.as_array_mut().ok_or(EditError::Shape { key })?;
    let prefix = canonical(change.prefix);
    match (change.action, position(entries, prefix)) {
        (Action::Add, None) => add(entries, prefix),
        (Action::Add, Some(_)) => return Err(EditError::AlreadyThere { list: change.list.clone(), prefix }),
        (Action::Remove, None) => return Err(not_there(change)),
        (Action::Remove, Some(_)) => {
            // The file may name it more than once, in different words.
            while let Some(index) = position(entries, prefix) {
                remove(entries, index);
            }
        }
    }
    Ok(())
}

fn not_there(change: &ListChange) -> EditError {
    EditError::NotThere { list: change.list.clone(), prefix: canonical(change.prefix) }
}

fn position(entries: &Array, prefix: IpNet) -> Option<usize> {
    let is_it = |entry: &Value| entry.as_str().and_then(|text| parse_prefix(text).ok()) == Some(prefix);
    entries.iter().position(is_it)
}

/// Appends an entry in the layout of those before it.
fn add(entries: &mut Array, prefix: IpNet) {
    let host = prefix.prefix_len() == prefix.max_prefix_len();
    let text = if host { prefix.addr().to_string() } else { prefix.to_string() };
    let mut entry = Value::from(text);
    // What stands between the last entry and the bracket: comments of that entry, then the line break.
    let rest = take_rest(entries);
    let before_last = entries.get(entries.len().wrapping_sub(1)).map(before).unwrap_or_default();
    let multi_line = rest.contains('\n') || before_last.contains('\n');
    if multi_line {
        let (comments, closing) = rest.rsplit_once('\n').unwrap_or((&rest, ""));
        let first = entries.get(0).map(before).unwrap_or_default();
        let indent = first.rsplit_once('\n').map_or(INDENT, |(_, indent)| indent);
        entry.decor_mut().set_prefix(format!("{}\n{indent}", comments.trim_end()));
        entry.decor_mut().set_suffix("");
        entries.push_formatted(entry);
        // Without a line break before the bracket it stays behind the last entry.
        entries.set_trailing(if rest.contains('\n') { format!("\n{closing}") } else { String::new() });
    } else {
        // An empty array may be written `[ ]`: the blank then goes on both sides.
        entry.decor_mut().set_prefix(if entries.is_empty() { &rest } else { " " });
        entry.decor_mut().set_suffix("");
        entries.push_formatted(entry);
        entries.set_trailing(rest);
    }
}

/// Removes an entry and the comment behind it; the comments on the lines above it stay.
fn remove(entries: &mut Array, index: usize) {
    let removed_prefix = entries.get(index).map(before).unwrap_or_default();
    let is_last = index + 1 == entries.len();
    let following =
        if is_last { take_rest(entries) } else { entries.get(index + 1).map(before).unwrap_or_default() };
    // Up to its last line break the text before the entry belongs to what stands above it.
    let kept_before = removed_prefix.rsplit_once('\n').map(|(above, _)| above);
    let kept_behind = following.find('\n').map(|line_break| &following[line_break..]);
    let joined = match (kept_before, kept_behind) {
        (Some(above), Some(behind)) => format!("{above}{behind}"),
        (Some(_), None) => removed_prefix.clone(),
        (None, Some(behind)) => behind.to_owned(),
        (None, None) if index == 0 => removed_prefix.clone(),
        (None, None) => following.clone(),
    };
    entries.remove(index);
    if is_last {
        entries.set_trailing(joined);
    } else if let Some(next) = entries.get_mut(index) {
        next.decor_mut().set_prefix(joined);
    }
}

/// Takes what stands behind the last entry, whether before or behind a last comma.
fn take_rest(entries: &mut Array) -> String {
    let trailing = entries.trailing().as_str().unwrap_or_default().to_owned();
    let last = entries.len().wrapping_sub(1);
    let Some(last) = entries.get_mut(last) else {
        return trailing;
    };
    let suffix = last.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
    last.decor_mut().set_suffix("");
    suffix + &trailing
}

fn before(entry: &Value) -> String {
    entry.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
