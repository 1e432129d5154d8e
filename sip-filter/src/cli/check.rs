//! `check`: is this file a policy?

use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::{AlreadyTold, DEFAULT_CONFIG, Global, output};
use crate::{
    daemon,
    list_files::OnDisk,
    policy::{file, mistake::Mistakes, registered::RegisteredTrunks, tables::Tables},
};

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The policy file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    errors: &'a Mistakes,
    warnings: &'a Mistakes,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> anyhow::Result<()> {
    let path = &arguments.config;
    let text = match daemon::read(path) {
        Err(error) if global.json => {
            let message = format!("{:#}", anyhow::Error::from(error));
            output::json(&json!({"ok": false, "errors": [{"message": message}], "warnings": []}))?;
            return Err(AlreadyTold.into());
        }
        text => text?,
    };
    let none = Mistakes::default();
    match file::parse_with(path, &text, &OnDisk) {
        Ok(policy) => {
            Tables::compile(&policy, &RegisteredTrunks::default())?;
            if global.json {
                return output::json(&Verdict { ok: true, errors: &none, warnings: &policy.warnings });
            }
            if !policy.warnings.is_empty() {
                output::print(&policy.warnings.to_string())?;
            }
            let (listeners, trunks) = (policy.listeners.len(), policy.trunks.len());
            output::print(&format!("{}: ok, {listeners} listeners, {trunks} trunks", path.display()))
        }
        Err(mistakes) if global.json => {
            output::json(&Verdict { ok: false, errors: &mistakes, warnings: &none })?;
            Err(AlreadyTold.into())
        }
        Err(mistakes) => Err(mistakes.into()),
    }
}
